{{/* What everything of this release is named by: the release, with the chart's name where it does not have it yet. */}}
{{- define "okr-operator.fullname" -}}
{{- $name := .Values.fullnameOverride | default (contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name)) -}}
{{- $name = $name | replace "." "-" | trunc 50 | trimSuffix "-" -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- fail (printf "%s cannot be the name of a Service: set fullnameOverride to one of lower-case letters, digits and -, beginning with a letter" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* The version of the operator: the image's tag where that is one. `kubectl okr doctor` compares it with its own. */}}
{{- define "okr-operator.version" -}}
{{- $tag := .Values.image.tag -}}
{{- regexMatch "^v?[0-9]+\\.[0-9]+\\.[0-9]+[-.A-Za-z0-9]{0,40}$" $tag | ternary (trimPrefix "v" $tag) .Chart.AppVersion | trimAll "-." -}}
{{- end -}}

{{/* The name is never another one: `kubectl okr doctor` finds the operator by it. */}}
{{- define "okr-operator.selectorLabels" -}}
app.kubernetes.io/name: okr-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "okr-operator.labels" -}}
{{- with .Values.commonLabels }}
{{- toYaml . }}
{{ end -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "okr-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ include "okr-operator.version" . | quote }}
app.kubernetes.io/part-of: okr-operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "okr-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "okr-operator.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "okr-operator.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the Pod Security Standard "restricted" asks of a pod. */}}
{{- define "okr-operator.podSecurityContext" -}}
runAsNonRoot: true
{{- with .Values.user }}
runAsUser: {{ int64 . }}
runAsGroup: {{ int64 . }}
fsGroup: {{ int64 . }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The same of a container. */}}
{{- define "okr-operator.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* A number as it is read by the operator: Helm holds whole numbers as floats and would write 1e+06. */}}
{{- define "okr-operator.number" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ int64 . }}{{ end -}}
{{- end -}}

{{/* What the operator may do to the objects of a namespace. */}}
{{- define "okr-operator.rules" -}}
- apiGroups: [okr-operator.dev]
  resources: [bigqueryconnections, okrkeyresults, okrobjectives]
  verbs: [get, list, watch]
- apiGroups: [okr-operator.dev]
  resources: [bigqueryconnections/status, okrkeyresults/status, okrobjectives/status]
  verbs: [update]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{/* Connections name Secrets, and each is read by its name. */}}
{{- define "okr-operator.secretRules" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end -}}

{{/* What the schema cannot say, as it compares two values. */}}
{{- define "okr-operator.check" -}}
{{- with .Values.thresholds -}}
{{- if gt (float64 .behind) (float64 .atRisk) -}}
{{- fail (printf "thresholds.behind (%v) must not be above thresholds.atRisk (%v)" .behind .atRisk) -}}
{{- end -}}
{{- end -}}
{{- $watched := .Values.watchNamespaces -}}
{{- $named := dict "secrets.namespaces" .Values.secrets.namespaces "ambientIdentityNamespaces" .Values.ambientIdentityNamespaces "sharedConnectionNamespaces" .Values.sharedConnectionNamespaces -}}
{{- range $key, $namespaces := $watched | empty | ternary dict $named -}}
{{- range $namespaces -}}
{{- if not (has . $watched) -}}
{{- fail (printf "%s: %s is not among watchNamespaces, so nothing there is seen" $key .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
