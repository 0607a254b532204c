{{/* A pod of the node: dict "root" $ "component" NAME "arguments" LIST "resources" MAP
     "console" BOOL "dicom" BOOL "models" BOOL. */}}

{{- define "dicomnode.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
# Big volumes are not walked through at every start.
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "dicomnode.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "dicomnode.pod" -}}
{{- $values := .root.Values -}}
metadata:
  labels:
    {{- include "dicomnode.labels" . | nindent 4 }}
    dicomnode/scraped: "true"
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # A changed configuration makes new pods.
    checksum/config: {{ include "dicomnode.config" .root | sha256sum }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "dicomnode.serviceAccount" .root }}
  automountServiceAccountToken: false
  # Kubernetes would set DICOMNODE_... for each Service, which the node takes for its configuration.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "dicomnode.graceSeconds" .root }}
  securityContext:
    {{- include "dicomnode.podSecurity" . | nindent 4 }}
  {{- with $values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- if $values.topologySpreadConstraints }}
    {{- toYaml $values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "dicomnode.selector" . | nindent 10 }}
    {{- end }}
  containers:
    - name: dicomnode
      image: {{ include "dicomnode.image" (dict "root" .root "image" $values.image) }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: {{ toJson .arguments }}
      {{- with $values.env }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - {name: health, containerPort: 8081}
        {{- if .dicom }}
        - {name: dicom, containerPort: 11112}
        {{- end }}
        {{- if and .console (include "dicomnode.consoleIsOpen" .root) }}
        - {name: console, containerPort: 8080}
        {{- end }}
      # Until the embedded Triton has its models nothing else is asked.
      startupProbe:
        httpGet: {path: /healthz, port: health}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: {{ add 12 (div (int (ceil (default 120 (default dict $values.config.inference).startup_seconds))) 5) }}
      livenessProbe:
        httpGet: {path: /healthz, port: health}
        periodSeconds: 15
        timeoutSeconds: 5
        failureThreshold: 4
      readinessProbe:
        httpGet: {path: /readyz, port: health}
        periodSeconds: 10
        timeoutSeconds: 8
        failureThreshold: 3
      {{- if .dicom }}
      lifecycle:
        # New associations go elsewhere before this receiver takes none.
        preStop: {exec: {command: [sleep, "5"]}}
      {{- end }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      securityContext:
        {{- include "dicomnode.containerSecurity" . | nindent 8 }}
      volumeMounts:
        - {name: data, mountPath: /var/lib/dicomnode}
        - {name: config, mountPath: /etc/dicomnode/dicomnode.toml, subPath: dicomnode.toml, readOnly: true}
        - {name: tmp, mountPath: /tmp}
        {{- if .models }}
        - {name: shm, mountPath: /dev/shm}
        {{- end }}
        {{- if $values.database.secretName }}
        - {name: database, mountPath: /etc/dicomnode/database, readOnly: true}
        {{- end }}
        {{- if $values.receive.tls.secretName }}
        - {name: receive-tls, mountPath: /etc/dicomnode/receive-tls, readOnly: true}
        {{- end }}
        {{- if $values.console.access.secretName }}
        - {name: access, mountPath: /etc/dicomnode/access, readOnly: true}
        {{- end }}
        {{- if $values.console.tls.secretName }}
        - {name: console-tls, mountPath: /etc/dicomnode/console-tls, readOnly: true}
        {{- end }}
        {{- if $values.triton.models.claim }}
        - {name: models, mountPath: /srv/models, readOnly: true}
        {{- end }}
        {{- if $values.triton.models.manifests.configMapName }}
        - {name: manifests, mountPath: /srv/manifests, readOnly: true}
        {{- end }}
        {{- range $values.files }}
        - {name: {{ printf "files-%s" .name }}, mountPath: {{ printf "/etc/dicomnode/files/%s" .name }}, readOnly: true}
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: data
      {{- if $values.config.storage }}
      # Copies of what lies in the bucket, and work files; gone with the pod.
      ephemeral:
        volumeClaimTemplate:
          spec:
            {{- include "dicomnode.claimSpec" (dict "root" .root "mode" "ReadWriteOnce") | nindent 12 }}
      {{- else }}
      persistentVolumeClaim: {claimName: {{ include "dicomnode.claim" .root }}}
      {{- end }}
    - name: config
      configMap: {name: {{ include "dicomnode.name" .root }}}
    - name: tmp
      emptyDir: {}
    {{- if .models }}
    - name: shm
      emptyDir: {medium: Memory, sizeLimit: {{ $values.triton.sharedMemory }}}
    {{- end }}
    {{- with $values.database.secretName }}
    - name: database
      secret:
        secretName: {{ . }}
        defaultMode: 0440
        items: [{key: {{ $values.database.key }}, path: url}]
    {{- end }}
    {{- with $values.receive.tls.secretName }}
    - name: receive-tls
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
    {{- with $values.console.access.secretName }}
    - name: access
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
    {{- with $values.console.tls.secretName }}
    - name: console-tls
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
    {{- with $values.triton.models.claim }}
    - name: models
      persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}
    {{- end }}
    {{- with $values.triton.models.manifests.configMapName }}
    - name: manifests
      configMap:
        name: {{ . }}
        items:
          {{- range $values.triton.models.manifests.names }}
          - {key: {{ printf "%s.toml" . }}, path: {{ printf "%s/manifest.toml" . }}}
          {{- end }}
    {{- end }}
    {{- range $values.files }}
    - name: {{ printf "files-%s" .name }}
      secret: {secretName: {{ .secretName }}, defaultMode: 0440}
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
