{{/* The node's TOML. Helm's own toToml turns whole numbers into fractions and indents tables in
     another way from one version to the next; this writes what a person would. */}}

{{- define "dicomnode.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . -}}{{ . }}{{- else -}}{{ toJson . }}{{- end -}}
{{- end -}}

{{/* A value within a line. JSON's texts, truths and lists are TOML's as well. */}}
{{- define "dicomnode.toml.value" -}}
{{- if kindIs "map" . -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $pairs = append $pairs (printf "%s = %s" (include "dicomnode.toml.key" $key) (include "dicomnode.toml.value" $value)) -}}
{{- end -}}
{{- end -}}
{ {{ join ", " $pairs }} }
{{- else if kindIs "slice" . -}}
{{- $items := list -}}
{{- range . -}}{{- $items = append $items (include "dicomnode.toml.value" .) -}}{{- end -}}
[{{ join ", " $items }}]
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{ printf "%.0f" . }}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}

{{/* dict "table" MAP "path" "receive.tls": the table's own keys, then the tables within it. */}}
{{- define "dicomnode.toml" -}}
{{- $path := .path -}}
{{- range $key, $value := .table -}}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ include "dicomnode.toml.key" $key }} = {{ include "dicomnode.toml.value" $value }}
{{- end -}}
{{- end -}}
{{- range $key, $value := .table -}}
{{- if kindIs "map" $value }}
{{- $name := include "dicomnode.toml.key" $key -}}
{{- $full := empty $path | ternary $name (printf "%s.%s" $path $name) }}

[{{ $full }}]
{{- include "dicomnode.toml" (dict "table" $value "path" $full) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What a site says, with what the chart knows put in. */}}
{{- define "dicomnode.config" -}}
{{- include "dicomnode.check" . -}}
{{- $config := deepCopy .Values.config -}}
{{- $receive := $config.receive -}}
{{- $set := dict "host" "0.0.0.0" "port" 11112 -}}
{{- if .Values.test.enabled -}}
{{- $caller := dict "ae_title" .Values.test.aeTitle "hosts" .Values.test.hosts "verification_only" true -}}
{{- $_ := set $set "allowed_callers" (append $receive.allowed_callers $caller) -}}
{{- end -}}
{{- with .Values.receive.tls -}}
{{- if .secretName -}}
{{- $folder := "/etc/dicomnode/receive-tls" -}}
{{- $tls := dict "profile" .profile "authentication" .authentication -}}
{{- $_ := set $tls "certificate" (printf "%s/tls.crt" $folder) -}}
{{- $_ := set $tls "key" (printf "%s/tls.key" $folder) -}}
{{- if eq .authentication "mutual" -}}{{- $_ := set $tls "authorities" (printf "%s/ca.crt" $folder) -}}{{- end -}}
{{- $_ := set $set "tls" $tls -}}
{{- end -}}
{{- end -}}
{{- $_ := set $config "receive" (mergeOverwrite $receive $set) -}}
{{- $_ := set $config "data_dir" "/var/lib/dicomnode" -}}
{{- $_ := set $config "health" (dict "host" "0.0.0.0" "port" 8081) -}}
{{- $console := dict "port" 8080 "host" (include "dicomnode.consoleIsOpen" . | empty | ternary "127.0.0.1" "0.0.0.0") -}}
{{- with .Values.console.tls.secretName -}}
{{- $_ := set $console "tls" (dict "certificate" "/etc/dicomnode/console-tls/tls.crt" "key" "/etc/dicomnode/console-tls/tls.key") -}}
{{- end -}}
{{- with .Values.console.access -}}
{{- if .secretName -}}
{{- $access := dict -}}
{{- with .passwordKey -}}{{- $_ := set $access "password_file" (printf "/etc/dicomnode/access/%s" .) -}}{{- end -}}
{{- with .tokenKey -}}{{- $_ := set $access "token_file" (printf "/etc/dicomnode/access/%s" .) -}}{{- end -}}
{{- $_ := set $console "access" $access -}}
{{- end -}}
{{- end -}}
{{- $_ := set $config "console" (mergeOverwrite (default dict $config.console) $console) -}}
{{- if .Values.database.secretName -}}
{{- $_ := set $config "database" (dict "url_file" "/etc/dicomnode/database/url") -}}
{{- end -}}
{{- $inference := dict "triton" "embedded" -}}
{{- if eq .Values.triton.mode "deployment" -}}
{{- $_ := set $inference "triton" (printf "%s-triton:8001" (include "dicomnode.name" .)) -}}
{{- else if eq .Values.triton.mode "external" -}}
{{- $_ := set $inference "triton" .Values.triton.address -}}
{{- end -}}
{{- $repositories := list -}}
{{- if .Values.triton.models.claim -}}{{- $repositories = append $repositories "/srv/models" -}}{{- end -}}
{{- if .Values.triton.models.manifests.configMapName -}}{{- $repositories = append $repositories "/srv/manifests" -}}{{- end -}}
{{- if $repositories -}}{{- $_ := set $inference "model_repositories" $repositories -}}{{- end -}}
{{- $_ := set $config "inference" (mergeOverwrite (default dict $config.inference) $inference) -}}
# Made by Helm, release {{ .Release.Name }}.
{{- include "dicomnode.toml" (dict "table" $config "path" "") }}
{{ end -}}
