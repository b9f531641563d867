{{/* Labels of every object; called with the stage's name. */}}
{{- define "fireworks.labels" -}}
{{ include "fireworks.pod" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* Labels of a pod: a new version of the chart alone rolls nothing. */}}
{{- define "fireworks.pod" -}}
{{ include "fireworks.selector" . }}
app.kubernetes.io/part-of: fireworks
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{/* Labels that never change, for selectors. */}}
{{- define "fireworks.selector" -}}
app.kubernetes.io/name: fireworks
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .stage }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "fireworks.bootstrap" -}}
{{ .Values.bootstrapServers | default (printf "kafka.%s.svc.%s:9092" .Release.Namespace .Values.clusterDomain) }}
{{- end }}

{{- define "fireworks.secret" -}}
{{- if .Values.existingSecret }}{{ .Values.existingSecret }}{{ else if .Values.clientProperties }}fireworks-client{{ end }}
{{- end }}

{{/* A word as a string: a number of seven digits or more would come out as 1e+06. */}}
{{- define "fireworks.word" -}}
{{- if kindIs "string" . }}{{ quote . }}{{ else }}{{ toJson . | quote }}{{ end }}
{{- end }}

{{/* What every pod's metadata says. */}}
{{- define "fireworks.metadata" -}}
labels:
  {{- include "fireworks.pod" . | nindent 2 }}
annotations:
  prometheus.io/scrape: "true"
  prometheus.io/port: "9464"
  prometheus.io/path: /metrics
  {{- with .root.Values.clientProperties }}
  # A changed Secret starts the pods anew.
  checksum/client-properties: {{ sha256sum . }}
  {{- end }}
  {{- if eq .stage "generate" }}
  {{- with .root.Values.generate.devices }}
  checksum/devices: {{ sha256sum . }}
  {{- end }}
  {{- end }}
{{- end }}

{{/* What every pod's specification begins with. */}}
{{- define "fireworks.spec" -}}
{{- $values := .root.Values -}}
enableServiceLinks: false
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  {{- /* Spark's own user: Java looks it up by name. It must be able to write its checkpoint. */}}
  {{- if .isSpark }}
  runAsUser: 185
  runAsGroup: 185
  fsGroup: 185
  fsGroupChangePolicy: OnRootMismatch
  {{- else }}
  runAsUser: 65532
  runAsGroup: 65532
  {{- end }}
  seccompProfile: {type: RuntimeDefault}
{{- with $values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
# The default is five minutes. It begins when the cluster has noticed: after 14 s on the cluster of fireworks up, 50 s
# elsewhere unless told otherwise. What still runs on a node that only seems dead is fenced: its transactional id
# belongs to whoever came later.
tolerations:
  - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 10}
  - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 10}
  {{- with $values.tolerations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "fireworks.selector" . | nindent 8 }}
{{- end }}

{{/* What every container's description begins with. */}}
{{- define "fireworks.container" -}}
{{- $values := .root.Values -}}
{{- $stage := index $values .stage -}}
{{- if .isSpark -}}
image: {{ include "fireworks.sparkImage" .root | quote }}
command: [python3, /opt/fireworks/generate.py]
{{- else -}}
image: {{ required "image is needed: --set image=REGISTRY/fireworks:TAG, built by docker/Dockerfile" $values.image | quote }}
{{- end }}
imagePullPolicy: {{ $values.imagePullPolicy }}
{{- with ternary $stage.args (prepend $stage.args .stage) (default false .isSpark) }}
args:
  {{- range . }}
  - {{ include "fireworks.word" . }}
  {{- end }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
# Started: the port is there. Ready: it does its work (assigned and restored, or Kafka has answered). Live: its loops
# turn; that never depends on Kafka, whose outage would restart everything.
startupProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 1
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 3
  timeoutSeconds: 2
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
resources:
  {{- if .isSpark }}
  {{- toYaml $stage.spark.resources | nindent 2 }}
  {{- else }}
  {{- toYaml $stage.resources | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "fireworks.sparkImage" -}}
{{ required "generate.spark.image is needed: --set generate.spark.image=REGISTRY/fireworks-spark:TAG, built by docker/spark.Dockerfile" .Values.generate.spark.image }}
{{- end }}

{{/* The variables of every container. */}}
{{- define "fireworks.env" -}}
{{- $stage := index .root.Values .stage -}}
- {name: FIREWORKS_BOOTSTRAP_SERVERS, value: {{ include "fireworks.bootstrap" .root | quote }}}
- {name: FIREWORKS_METRICS_LISTEN, value: "0.0.0.0:9464"}
{{- with include "fireworks.secret" .root }}
- name: FIREWORKS_X
  valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: client.properties}}
{{- end }}
{{- range $name, $value := $stage.env }}
- {name: {{ $name }}, value: {{ include "fireworks.word" $value }}}
{{- end }}
{{- end }}
