{{/* Names, labels and addresses that objects share. */}}

{{- define "dicomnode.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Of a component: dict "root" $ "component" "receive". */}}
{{- define "dicomnode.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "dicomnode.labels" -}}
{{ include "dicomnode.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: dicomnode
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Of a section image: dict "root" $ "image" .Values.image. */}}
{{- define "dicomnode.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .root.Chart.AppVersion .image.tag }}
{{- end -}}
{{- end -}}

{{- define "dicomnode.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "dicomnode.name" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "dicomnode.claim" -}}
{{ default (printf "%s-data" (include "dicomnode.name" .)) .Values.storage.existingClaim }}
{{- end -}}

{{/* Which components take part in the node, and what speaks DICOM and HTTP among them. */}}
{{- define "dicomnode.receiver" -}}
{{ eq .Values.mode "single" | ternary "node" "receive" }}
{{- end -}}

{{- define "dicomnode.consoleComponent" -}}
{{ eq .Values.mode "single" | ternary "node" "console" }}
{{- end -}}

{{- define "dicomnode.serviceType" -}}
{{ default (eq .Values.mode "single" | ternary "NodePort" "LoadBalancer") .Values.receive.service.type }}
{{- end -}}

{{/* Called AE titles, by comma; the node's own default where there are no pipelines. */}}
{{- define "dicomnode.titles" -}}
{{- $titles := list -}}
{{- range $name, $pipeline := default dict .Values.config.pipelines -}}
{{- if $pipeline -}}{{- $titles = append $titles $pipeline.ae_title -}}{{- end -}}
{{- end -}}
{{- default (list "DICOMNODE") $titles | join "," -}}
{{- end -}}

{{/* Seconds that a pod is given to stop: a whole node drains its receiver, then its workers. */}}
{{- define "dicomnode.graceSeconds" -}}
{{ add (mul 2 (int (ceil (default 60 .Values.config.drain_seconds)))) 40 }}
{{- end -}}

{{/* Whether the console may be reached from without the pod: somebody is asked, or nobody on purpose. */}}
{{- define "dicomnode.consoleIsOpen" -}}
{{- $access := default dict (default dict .Values.config.console).access -}}
{{- if or .Values.console.access.secretName $access.open_to_anyone (default dict $access.proxy).user_header -}}
true
{{- end -}}
{{- end -}}

{{/* What is asked of a volume: dict "root" $ "mode" DEFAULT. */}}
{{- define "dicomnode.claimSpec" -}}
accessModes: {{ default (list .mode) .root.Values.storage.accessModes | toJson }}
{{- if kindIs "string" .root.Values.storage.storageClassName }}
storageClassName: {{ .root.Values.storage.storageClassName | quote }}
{{- end }}
resources:
  requests: {storage: {{ .root.Values.storage.size }}}
{{- end -}}
