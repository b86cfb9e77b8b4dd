{{- define "mmo.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "mmo.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := include "mmo.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "mmo.selectorLabels" -}}
app.kubernetes.io/name: {{ include "mmo.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mmo.labels" -}}
{{ include "mmo.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "mmo.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "mmo.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "mmo.image" -}}
{{- if not .Values.image.repository }}
{{- fail "image.repository is not set, and no image is published yet: build one (docs/image.md), push it to your registry, and add --set image.repository=REGISTRY/memory-migration-operator" }}
{{- end }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{/* What the restricted level of pod security asks of a pod; OpenShift gives the ids itself. */}}
{{- define "mmo.podSecurityContext" -}}
runAsNonRoot: true
{{- if ne .Values.platform "openshift" }}
runAsUser: 65532
runAsGroup: 65532
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "mmo.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* What the controller may do where it looks for migrations. Secrets are not among it: the kubelet mounts them. */}}
{{- define "mmo.rules" -}}
- apiGroups: [memory-migration.dev]
  resources: [memorymigrations, memorymigrationschedules]
  verbs: [get, list, watch]
# A schedule makes migrations and removes old ones; a migration's spec and metadata are never changed.
- apiGroups: [memory-migration.dev]
  resources: [memorymigrations]
  verbs: [create, delete]
- apiGroups: [memory-migration.dev]
  resources: [memorymigrations/status, memorymigrationschedules/status]
  verbs: [patch]
# What is made has an owner reference that blocks deletion; some clusters ask for this right to set one.
- apiGroups: [memory-migration.dev]
  resources: [memorymigrations/finalizers, memorymigrationschedules/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [""]
  resources: [persistentvolumeclaims, services]
  verbs: [get]
{{- if .Values.reports.configMap }}
# The report of a run, by its name: they are never listed or watched.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, update]
{{- end }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
