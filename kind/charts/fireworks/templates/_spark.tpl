{{/* Properties of Spark, one a line. */}}
{{- define "fireworks.sparkConf" -}}
{{- range $name, $value := . }}{{ $name }}={{ kindIs "string" $value | ternary $value (toJson $value) }}
{{ end }}
{{- end }}

{{/* What the operator makes a driver or an executor of; called with the name of its container. */}}
{{- define "fireworks.sparkPod" -}}
{{- $isDriver := eq .name "spark-kubernetes-driver" -}}
metadata:
  labels: {app.kubernetes.io/part-of: fireworks}
spec:
  enableServiceLinks: false
  {{- if not $isDriver }}
  automountServiceAccountToken: false
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 185
    runAsGroup: 185
    fsGroup: 185
    seccompProfile: {type: RuntimeDefault}
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .name }}
      {{- if $isDriver }}
      readinessProbe:
        httpGet: {path: /readyz, port: 9464}
        periodSeconds: 3
      livenessProbe:
        httpGet: {path: /healthz, port: 9464}
        initialDelaySeconds: 60
        periodSeconds: 10
        timeoutSeconds: 5
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        capabilities: {drop: [ALL]}
      {{- if and $isDriver .root.Values.generate.devices }}
      volumeMounts:
        - {name: devices, mountPath: /etc/fireworks, readOnly: true}
      {{- end }}
  {{- if and $isDriver .root.Values.generate.devices }}
  volumes:
    - name: devices
      configMap: {name: generate-devices}
  {{- end }}
{{- end }}
