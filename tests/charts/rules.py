"""Checks rendered manifests against rules of our own and against their snapshots. Renders nothing and knows no helm.

Usage: rules.py RENDERED SNAPSHOTS [--update]. RENDERED holds one file of manifests for each set of options. A snapshot
has the same manifests sorted by kind and name, so that it does not depend on the helm that rendered them.
"""

import difflib
import pathlib
import sys

import yaml

KINDS = {
    "ConfigMap", "Deployment", "NetworkPolicy", "PersistentVolumeClaim", "PodDisruptionBudget", "Secret", "Service",
    "SparkApplication", "StatefulSet",
}
LABELS = {f"app.kubernetes.io/{name}" for name in ("name", "instance", "part-of", "managed-by")}


def manifests(path):
    """The manifests of a file, sorted."""
    found = [one for one in yaml.safe_load_all(path.read_text()) if one]
    return sorted(found, key=lambda one: (one["kind"], one["metadata"]["name"]))


def matches(selector, labels):
    return selector.items() <= labels.items()


def seconds(container, hook):
    return container.get("lifecycle", {}).get(hook, {}).get("sleep", {}).get("seconds", 0)


def of_container(container):
    """What is wrong with a container."""
    probes = [container.get(f"{name}Probe") for name in ("startup", "readiness", "liveness")]
    if None in probes:
        yield "has no startup, readiness or liveness probe"
    else:
        asked = [probe.get("httpGet", probe.get("tcpSocket")) for probe in probes]
        if asked[1] == asked[2]:
            yield "asks the same for ready as for live"
        ports = {port["name"] for port in container["ports"]}
        if any(what["port"] not in ports for what in asked):
            yield "has a probe of a port that it doesn't name"
    resources = container.get("resources", {})
    for bound in ("requests", "limits"):
        if {"cpu", "memory"} - set(resources.get(bound, {})):
            yield f"has no {bound} of cpu and memory"
    security = container.get("securityContext", {})
    if security != {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }:
        yield f"may do more than it needs: {security}"
    names = [variable["name"] for variable in container.get("env", [])]
    if len(names) != len(set(names)):
        yield "sets a variable twice"
    image = container["image"]
    if "@sha256:" not in image and (":" not in image.rsplit("/", 1)[-1] or image.endswith(":latest")):
        yield f"has an image without a tag: {image}"


def of_pod(template):
    """What is wrong with a pod."""
    spec = template["spec"]
    if spec.get("enableServiceLinks") is not False or spec.get("automountServiceAccountToken") is not False:
        yield "gets service links or a token"
    security = spec.get("securityContext", {})
    if not security.get("runAsNonRoot") or security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "may run as root, or without a seccomp profile"
    if not spec.get("topologySpreadConstraints"):
        yield "is not spread over the nodes"
    for constraint in spec.get("topologySpreadConstraints", []):
        if not matches(constraint["labelSelector"]["matchLabels"], template["metadata"]["labels"]):
            yield "is spread by labels that it doesn't have"
    if template["metadata"]["labels"]["app.kubernetes.io/name"] == "fireworks":
        patience = {
            one["key"]: one["tolerationSeconds"] for one in spec["tolerations"] if one.get("effect") == "NoExecute"
        }
        for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
            if patience.get(key, 300) > 30:
                yield f"stays on a dead node: {key}"
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    for container in spec["containers"]:
        if seconds(container, "preStop") + 5 > spec["terminationGracePeriodSeconds"]:
            yield "is killed before it has drained"
        claims = {"data"} if template["metadata"]["labels"]["app.kubernetes.io/name"] == "kafka" else set()
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes | claims:
                yield f"mounts a volume that isn't there: {mount['name']}"
        yield from of_container(container)


def of_all(found):
    """What is wrong with the manifests of one set of options, as sentences."""
    workloads = [one for one in found if one["kind"] in ("Deployment", "StatefulSet")]
    pods = {one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"] for one in workloads}
    if len({(one["kind"], one["metadata"]["name"]) for one in found}) != len(found):
        yield "two objects have the same kind and name"
    for one in found:
        name = f"{one['kind']} {one['metadata']['name']}"
        if one["kind"] not in KINDS:
            yield f"{name} is of a kind that the schema validator may not know"
        if LABELS - set(one["metadata"]["labels"]):
            yield f"{name} lacks labels"
        if one["metadata"].get("namespace") != "fireworks":
            yield f"{name} is not in the release's namespace"
    for one in workloads:
        name, spec = one["metadata"]["name"], one["spec"]
        if not matches(spec["selector"]["matchLabels"], pods[name]):
            yield f"{name} does not select its own pods"
        if [other for other in pods if matches(spec["selector"]["matchLabels"], pods[other])] != [name]:
            yield f"{name} selects the pods of another"
        yield from (f"{name} {wrong}" for wrong in of_pod(spec["template"]))
        budgets = [
            budget for budget in found
            if budget["kind"] == "PodDisruptionBudget" and matches(budget["spec"]["selector"]["matchLabels"], pods[name])
        ]
        if len(budgets) != (1 if spec["replicas"] > 1 else 0):
            yield f"{name} has {len(budgets)} disruption budgets with {spec['replicas']} replicas"
    for service in (one for one in found if one["kind"] == "Service"):
        selected = [one for one in workloads if matches(service["spec"]["selector"], pods[one["metadata"]["name"]])]
        ports = {
            port["name"] for one in selected for container in one["spec"]["template"]["spec"]["containers"]
            for port in container["ports"]
        }
        if len(selected) != 1 or any(port["targetPort"] not in ports for port in service["spec"]["ports"]):
            yield f"service {service['metadata']['name']} leads nowhere"
    policies = [one for one in found if one["kind"] == "NetworkPolicy"]
    for name in pods if policies else []:
        types = {
            direction for policy in policies for direction in policy["spec"]["policyTypes"]
            if matches(policy["spec"]["podSelector"]["matchLabels"], pods[name])
        }
        if types != {"Ingress", "Egress"}:
            yield f"{name} is open to the network in some direction"


def main(rendered, snapshots, update):
    failed = False
    expected = {path.name for path in snapshots.glob("*.yaml")}
    for path in sorted(rendered.glob("*.yaml")):
        found = manifests(path)
        for wrong in of_all(found):
            print(f"FAILED  {path.stem}: {wrong}", file=sys.stderr)
            failed = True
        text = yaml.safe_dump_all(found, sort_keys=True, allow_unicode=True, width=120)
        snapshot = snapshots / path.name
        expected.discard(path.name)
        if update:
            snapshots.mkdir(exist_ok=True)
            snapshot.write_text(text)
        elif not snapshot.exists() or snapshot.read_text() != text:
            before = snapshot.read_text() if snapshot.exists() else ""
            sys.stderr.writelines(difflib.unified_diff(
                before.splitlines(True), text.splitlines(True), str(snapshot), "rendered now", n=3))
            print(f"FAILED  {path.stem}: not as in its snapshot; if it should be: tests/charts/run --update", file=sys.stderr)
            failed = True
    for name in sorted(expected):
        if update:
            (snapshots / name).unlink()
        else:
            print(f"FAILED  snapshots/{name} belongs to no set of options", file=sys.stderr)
            failed = True
    return failed


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:] == ["--update"]))
