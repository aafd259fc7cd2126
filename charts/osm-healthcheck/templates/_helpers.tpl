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
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
{{- define "injector.metadata" -}}
name: {{ include "injector.name" . }}
namespace: {{ .Release.Namespace }}
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
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
{{- define "node.metadata" -}}
name: {{ include "node.name" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "node.labels" . | nindent 2 }}
{{- end }}
