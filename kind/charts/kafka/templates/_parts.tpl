{{/* Labels of every object. */}}
{{- define "kafka.labels" -}}
{{ include "kafka.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: fireworks
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Labels that never change, for selectors and volumes. */}}
{{- define "kafka.selector" -}}
app.kubernetes.io/name: kafka
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: broker
{{- end }}

{{/* Labels of a pod: a new version of the chart alone does not roll the brokers. */}}
{{- define "kafka.pod" -}}
{{ include "kafka.selector" . }}
app.kubernetes.io/part-of: fireworks
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* What the headless service's names end with. */}}
{{- define "kafka.domain" -}}
kafka-headless.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end }}

{{/* The quorum: 0@kafka-0.…:9093,… */}}
{{- define "kafka.voters" -}}
{{- range $i := until (int .Values.replicas) }}
{{- if $i }},{{ end }}{{ $i }}@kafka-{{ $i }}.{{ include "kafka.domain" $ }}:9093
{{- end }}
{{- end }}

{{/* The configuration that all brokers share; each adds its number and its name. */}}
{{- define "kafka.config" -}}
{{- $three := eq (int .Values.replicas) 3 -}}
{{- $copies := ternary 3 1 $three -}}
{{- $inSync := ternary 2 1 $three -}}
process.roles=broker,controller
controller.quorum.voters={{ include "kafka.voters" . }}
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
# Below the volume: its root may hold a lost+found.
log.dirs=/var/lib/kafka/data/kraft

default.replication.factor={{ $copies }}
min.insync.replicas={{ $inSync }}
offsets.topic.replication.factor={{ $copies }}
transaction.state.log.replication.factor={{ $copies }}
transaction.state.log.min.isr={{ $inSync }}
share.coordinator.state.topic.replication.factor={{ $copies }}
share.coordinator.state.topic.min.isr={{ $inSync }}

# The first consumer of a group need not wait for others.
group.initial.rebalance.delay.ms=0

# A topic that somebody creates without saying how fits the pipeline: event times may lie anywhere, so records go by
# size, never by age.
num.partitions=6
log.message.timestamp.after.max.ms=9223372036854775807
log.retention.ms=-1
log.retention.bytes=1073741824
{{- with .Values.config }}
{{ range $name, $value := . }}
{{ $name }}={{ if kindIs "string" $value }}{{ $value }}{{ else }}{{ toJson $value }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
