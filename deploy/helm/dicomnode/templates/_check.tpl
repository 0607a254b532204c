{{/* What the schema cannot say: values that want each other, in words. */}}
{{- define "dicomnode.check" -}}
{{- $faults := list -}}
{{- range $path, $instead := dict
    "receive.host" "the chart listens on all addresses of the pod"
    "receive.port" "set receive.service.port"
    "receive.tls" "set receive.tls.secretName"
    "console.host" "set console.access.secretName, or config.console.access"
    "console.port" "set console.service.port"
    "console.tls" "set console.tls.secretName"
    "inference.triton" "set triton.mode"
    "inference.model_repositories" "set triton.models" -}}
{{- $keys := splitList "." $path -}}
{{- if hasKey (default dict (get $.Values.config (first $keys))) (last $keys) -}}
{{- $faults = append $faults (printf "config.%s: is the chart's own; %s" $path $instead) -}}
{{- end -}}
{{- end -}}
{{- if and (eq .Values.mode "distributed") (not .Values.database.secretName) -}}
{{- $faults = append $faults "database.secretName: mode distributed wants a Secret with the URL of a PostgreSQL database; SQLite is for one pod" -}}
{{- end -}}
{{- if .Values.config.storage -}}
{{- if not .Values.database.secretName -}}
{{- $faults = append $faults "database.secretName: a bucket wants a Secret with the URL of a PostgreSQL database; SQLite needs a common disk" -}}
{{- end -}}
{{- if .Values.storage.existingClaim -}}
{{- $faults = append $faults "storage.existingClaim: with config.storage each pod has a volume of its own" -}}
{{- end -}}
{{- if has "ReadWriteMany" .Values.storage.accessModes -}}
{{- $faults = append $faults "storage.accessModes: with config.storage each pod has a volume of its own, found ReadWriteMany" -}}
{{- end -}}
{{- end -}}
{{- if and (eq .Values.triton.mode "external") (not .Values.triton.address) -}}
{{- $faults = append $faults "triton.address: mode external wants HOST:PORT of the server's gRPC endpoint" -}}
{{- end -}}
{{- if and .Values.triton.address (ne .Values.triton.mode "external") -}}
{{- $faults = append $faults (printf "triton.address: is for triton.mode external, found %s" .Values.triton.mode) -}}
{{- end -}}
{{- if .Values.triton.models.s3.url -}}
{{- if ne .Values.triton.mode "deployment" -}}
{{- $faults = append $faults (printf "triton.models.s3: is for triton.mode deployment, found %s" .Values.triton.mode) -}}
{{- end -}}
{{- if not .Values.triton.models.manifests.configMapName -}}
{{- $faults = append $faults "triton.models.manifests.configMapName: the node reads no S3: wanted a ConfigMap with the manifests of the models there" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.console.ingress.enabled (not (include "dicomnode.consoleIsOpen" .)) -}}
{{- $faults = append $faults "console.ingress.enabled: nobody would be asked who they are; set console.access.secretName, or config.console.access" -}}
{{- end -}}
{{- if and .Values.test.enabled (default dict .Values.config.receive).users -}}
{{- $faults = append $faults "test.enabled: config.receive.users wants a name and a password of everybody, which the test has not; set it to false" -}}
{{- end -}}
{{- $seen := dict -}}
{{- range .Values.files -}}
{{- if hasKey $seen .name -}}{{- $faults = append $faults (printf "files: %s is there twice" .name) -}}{{- end -}}
{{- $_ := set $seen .name true -}}
{{- end -}}
{{- if $faults -}}
{{- fail (printf "\n\n%s\n" (join "\n" $faults)) -}}
{{- end -}}
{{- end -}}
