{{- /* A number: those of a values file are floats, which templates print as 1e+06. */}}
{{- define "number" -}}
{{ if kindIs "string" . }}{{ . }}{{ else }}{{ int64 . }}{{ end }}
{{- end }}
{{- define "injector.name" -}}osm-healthcheck-injector{{- end }}
{{- define "injector.configuration" -}}0-osm-healthcheck-injector{{- end }}
{{- define "injector.secret" -}}
{{- .Values.certificate.secret | default "osm-healthcheck-injector-certificate" }}
{{- end }}
{{- define "injector.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- define "injector.selector" -}}
app.kubernetes.io/name: osm-healthcheck
app.kubernetes.io/component: injector
{{- end }}
{{- define "injector.labels" -}}
{{ include "injector.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
{{- define "injector.metadata" -}}
name: {{ include "injector.name" . }}
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "injector.labels" . | nindent 2 }}
{{- end }}
{{- define "node.name" -}}osm-healthcheck-node{{- end }}
{{- define "node.selector" -}}
app.kubernetes.io/name: osm-healthcheck
app.kubernetes.io/component: node
{{- end }}
{{- define "node.labels" -}}
{{ include "node.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
{{- define "node.metadata" -}}
name: {{ include "node.name" . }}
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "node.labels" . | nindent 2 }}
{{- end }}
{{- define "node.image" -}}
{{ .Values.injected.image | default (printf "osm-healthcheck:%s" .Chart.AppVersion) }}
{{- end }}
{{- define "node.rightsImage" -}}
{{- $image := include "node.image" . }}
{{- if not .Values.node.bypass }}
{{- $image }}
{{- else if .Values.node.bypassImage }}
{{- .Values.node.bypassImage }}
{{- else if contains "@" $image }}
{{- fail "injected.image is a digest, from which the image for node.bypass does not follow: set node.bypassImage" }}
{{- else }}
{{- regexReplaceAll "(:[^:/]*)?$" $image "-node${1}" }}
{{- end }}
{{- end }}
{{- define "node.rights" -}}
securityContext:
  runAsUser: 0 # who owns the runtime's socket and the namespace files
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  # setns(2) into a pod's network namespace; newer kernels take a filter on a TCP socket, which
  # keeps what is handed to the other container to its use, from NET_ADMIN alone
  capabilities: {drop: [ALL], add: [SYS_ADMIN{{ if or .Values.node.split .Values.node.bypass }}, NET_ADMIN{{ end }}]}
volumeMounts:
  # The folder, not the socket: a runtime that starts anew makes a new one.
  - {name: runtime, mountPath: {{ dir .Values.node.runtimeSocket | quote }}, readOnly: true}
  # containerd and CRI-O call it /var/run/netns, of which /run is the usual other name
  - {name: namespaces, mountPath: /run/netns, readOnly: true, mountPropagation: HostToContainer}
  - {name: namespaces, mountPath: /var/run/netns, readOnly: true, mountPropagation: HostToContainer}
{{- end }}
