//! What the pods of a release say about themselves. Pure: from what Kubernetes answered to a sentence.
//!
//! One pod is told about, the one in the worst state: people read one reason at a time.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::wait::{Hopeless, Look};

/// A crash loop this long does not mend itself: Kafka and the pipeline each need no other to be there first.
const CRASHES: u64 = 4;
/// A node may be about to join, an image may be about to be loaded.
const NO_ROOM: Duration = Duration::from_secs(60);
const NO_IMAGE: Duration = Duration::from_secs(45);
const NO_CONTAINER: Duration = Duration::from_secs(20);

const INSTANCE: &str = "app.kubernetes.io/instance";

/// A set of pods as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Workload {
    pub name: String,
    pub ready: u64,
    pub wanted: u64,
    pub restarts: u64,
    pub image: String,
}

/// The stateful sets and deployments of a release, with the pods that belong to them.
pub fn workloads(list: &Value, release: &str) -> Vec<Workload> {
    let sets = objects(list, release, &["StatefulSet", "Deployment"]);
    sets.map(|set| {
        let name = text(&set["metadata"]["name"]);
        let container = &set["spec"]["template"]["spec"]["containers"][0];
        let pods = objects(list, release, &["Pod"]).filter(|pod| belongs(pod, name));
        let restarts = pods
            .flat_map(containers)
            .map(|container| number(&container["restartCount"]));
        Workload {
            name: name.to_owned(),
            ready: number(&set["status"]["readyReplicas"]),
            wanted: set["spec"]["replicas"].as_u64().unwrap_or(1),
            restarts: restarts.sum(),
            image: text(&container["image"]).to_owned(),
        }
    })
    .collect()
}

/// What is being waited for until all pods of a release are ready.
pub fn look(list: &Value, release: &str) -> Look {
    let pods = objects(list, release, &["Pod"]);
    let states = pods.filter_map(|pod| state(pod, list));
    // The first of those that are worst.
    let worst = states.reduce(|worst, state| {
        if state.hopeless.is_some() && worst.hopeless.is_none() {
            state
        } else {
            worst
        }
    });
    worst.unwrap_or_else(|| set_without_pods(list, release))
}

fn set_without_pods(list: &Value, release: &str) -> Look {
    let mut sets = workloads(list, release).into_iter();
    let reason = sets.find(|set| set.ready < set.wanted).map(|set| {
        format!(
            "{}: {} of {} pods are ready",
            set.name, set.ready, set.wanted
        )
    });
    Look {
        reason,
        hopeless: None,
    }
}

/// What a pod waits for, or nothing where it is ready.
fn state(pod: &Value, list: &Value) -> Option<Look> {
    let name = text(&pod["metadata"]["name"]);
    if is_ready(pod) || pod["metadata"]["deletionTimestamp"].is_string() {
        return None;
    }
    if let Some(message) = unschedulable(pod) {
        return Some(Look {
            reason: Some(format!("{name} can't be placed: {message}")),
            hopeless: Some(Hopeless {
                help: "the nodes lack room: give docker more memory or CPUs, or lower --replicas or --kafka-replicas".into(),
                patience: NO_ROOM,
                pod: None,
            }),
        });
    }
    let waiting = containers(pod).find_map(|container| container_state(name, container));
    let look = waiting.unwrap_or_else(|| {
        let said = match newest_event(list, name, |event| event["reason"] == "Unhealthy") {
            Some(message) => first_line(&message),
            None => "it is starting".to_owned(),
        };
        Look {
            reason: Some(format!("{name}: {said}")),
            hopeless: None,
        }
    });
    let is_being_made = look
        .reason
        .as_deref()
        .is_some_and(|reason| reason.ends_with(BEING_MADE));
    if !is_being_made {
        return Some(look);
    }
    // The event tells more than the state: an image is pulled, a volume is missing.
    let event = newest_event(list, name, |event| {
        event["reason"] == "Pulling" || event["type"] == "Warning"
    });
    Some(match event {
        Some(message) => Look {
            reason: Some(format!("{name}: {}", first_line(&message))),
            hopeless: None,
        },
        None => look,
    })
}

const BEING_MADE: &str = "its container is being made";

fn container_state(pod: &str, container: &Value) -> Option<Look> {
    let waiting = &container["state"]["waiting"];
    let reason = waiting["reason"].as_str()?;
    let message = first_line(text(&waiting["message"]));
    let image = text(&container["image"]);
    let logs = format!("see what it said: kubectl logs {pod} --previous");
    let (said, hopeless) = match reason {
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" => (
            format!("the image {image} can't be had: {message}"),
            Some((
                format!("check the reference, and that the nodes can pull it: {image}"),
                NO_IMAGE,
                false,
            )),
        ),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => (
            format!("its container can't be made: {message}"),
            Some((
                format!("see its events: kubectl describe pod {pod}"),
                NO_CONTAINER,
                false,
            )),
        ),
        "CrashLoopBackOff" => {
            let crashes = number(&container["restartCount"]);
            let code = &container["lastState"]["terminated"]["exitCode"];
            let why = match container["lastState"]["terminated"]["reason"].as_str() {
                Some("OOMKilled") => "for want of memory".to_owned(),
                _ => format!("with exit code {code}"),
            };
            let said = format!(" crashed {crashes} times, the last {why}");
            let hopeless = (crashes >= CRASHES).then_some((logs, Duration::ZERO, true));
            return Some(waiting_look(pod, &said, hopeless));
        }
        "ContainerCreating" | "PodInitializing" => (BEING_MADE.to_owned(), None),
        other => (format!("{other} {message}").trim_end().to_owned(), None),
    };
    Some(waiting_look(pod, &format!(": {said}"), hopeless))
}

fn waiting_look(pod: &str, said: &str, hopeless: Option<(String, Duration, bool)>) -> Look {
    Look {
        reason: Some(format!("{pod}{said}")),
        hopeless: hopeless.map(|(help, patience, has_logs)| Hopeless {
            help,
            patience,
            pod: has_logs.then(|| pod.to_owned()),
        }),
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions
        .into_iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn unschedulable(pod: &Value) -> Option<String> {
    let conditions = pod["status"]["conditions"].as_array()?;
    let scheduled = conditions
        .iter()
        .find(|condition| condition["type"] == "PodScheduled")?;
    (scheduled["status"] == "False").then(|| first_line(text(&scheduled["message"])))
}

fn newest_event(list: &Value, pod: &str, wanted: impl Fn(&Value) -> bool) -> Option<String> {
    let items = list["items"].as_array().into_iter().flatten();
    let events = items.filter(|item| {
        item["kind"] == "Event" && item["involvedObject"]["name"] == pod && wanted(item)
    });
    let time = |event: &Value| {
        let of = |name: &str| text(&event[name]).to_owned();
        of("lastTimestamp").max(of("eventTime"))
    };
    let newest = events.max_by_key(|event| time(event))?;
    Some(text(&newest["message"]).to_owned())
}

fn objects<'a>(
    list: &'a Value,
    release: &'a str,
    kinds: &'a [&'a str],
) -> impl Iterator<Item = &'a Value> {
    let items = list["items"].as_array().into_iter().flatten();
    items.filter(move |item| {
        item["metadata"]["labels"][INSTANCE] == release
            && item["kind"]
                .as_str()
                .is_some_and(|kind| kinds.contains(&kind))
    })
}

/// A pod of a stateful set is named set-0, one of a deployment deployment-hash-hash.
fn belongs(pod: &Value, set: &str) -> bool {
    let rest = text(&pod["metadata"]["name"]).strip_prefix(set);
    rest.is_some_and(|rest| rest.starts_with('-'))
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let of = |name: &str| pod["status"][name].as_array().into_iter().flatten();
    of("initContainerStatuses").chain(of("containerStatuses"))
}

fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default().trim();
    match line.char_indices().nth(160) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: &Value) -> Value {
        json!({"kind": "Pod", "metadata": {"name": "brownian-1", "labels": {INSTANCE: "fireworks"}}, "status": status})
    }

    fn waiting(reason: &str, message: &str, restarts: u64) -> Value {
        pod(&json!({"phase": "Pending", "containerStatuses": [{
            "restartCount": restarts, "image": "fireworks:abc",
            "state": {"waiting": {"reason": reason, "message": message}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}))
    }

    fn event(kind: &str, reason: &str, message: &str, at: &str) -> Value {
        json!({"kind": "Event", "type": kind, "reason": reason, "message": message, "lastTimestamp": at,
               "involvedObject": {"name": "brownian-1"}})
    }

    fn said(items: &[Value]) -> (String, Option<Duration>) {
        let look = look(&json!({"items": items}), "fireworks");
        (
            look.reason.unwrap_or_default(),
            look.hopeless.map(|hopeless| hopeless.patience),
        )
    }

    #[test]
    fn every_reason_of_kubernetes_becomes_a_sentence() {
        let unschedulable = pod(&json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/4 nodes are available: 3 Insufficient memory."}]}));
        let running =
            pod(&json!({"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}));
        let probe = event(
            "Warning",
            "Unhealthy",
            "Readiness probe failed: HTTP 503",
            "2026-01-01T00:00:02Z",
        );
        let older = event(
            "Warning",
            "Unhealthy",
            "Readiness probe failed: refused",
            "2026-01-01T00:00:01Z",
        );
        let pulling = event(
            "Normal",
            "Pulling",
            "Pulling image \"fireworks:abc\"",
            "2026-01-01T00:00:01Z",
        );
        for (items, sentence, patience) in [
            (
                vec![unschedulable],
                "brownian-1 can't be placed: 0/4 nodes are available: 3 Insufficient memory.",
                Some(NO_ROOM),
            ),
            (
                vec![waiting("ErrImagePull", "no such host", 0)],
                "brownian-1: the image fireworks:abc can't be had: no such host",
                Some(NO_IMAGE),
            ),
            (
                vec![waiting(
                    "CreateContainerConfigError",
                    "secret \"x\" not found",
                    0,
                )],
                "brownian-1: its container can't be made: secret \"x\" not found",
                Some(NO_CONTAINER),
            ),
            (
                vec![waiting("CrashLoopBackOff", "", 1)],
                "brownian-1 crashed 1 times, the last for want of memory",
                None,
            ),
            (
                vec![waiting("CrashLoopBackOff", "", CRASHES)],
                "brownian-1 crashed 4 times, the last for want of memory",
                Some(Duration::ZERO),
            ),
            (
                vec![waiting("ContainerCreating", "", 0)],
                "brownian-1: its container is being made",
                None,
            ),
            (
                vec![waiting("ContainerCreating", "", 0), pulling],
                "brownian-1: Pulling image \"fireworks:abc\"",
                None,
            ),
            (vec![running.clone()], "brownian-1: it is starting", None),
            (
                vec![running, probe, older],
                "brownian-1: Readiness probe failed: HTTP 503",
                None,
            ),
        ] {
            assert_eq!(said(&items), (sentence.to_owned(), patience));
        }
    }

    #[test]
    fn hopeless_pod_is_told_about_before_one_that_only_starts() {
        let mut other = waiting("ContainerCreating", "", 0);
        other["metadata"]["name"] = "brownian-0".into();
        let (sentence, _) = said(&[other, waiting("ErrImagePull", "denied", 0)]);
        assert_eq!(
            sentence,
            "brownian-1: the image fireworks:abc can't be had: denied"
        );
    }

    #[test]
    fn pods_of_other_releases_and_ready_pods_are_not_waited_for() {
        let mut other = waiting("ErrImagePull", "denied", 0);
        other["metadata"]["labels"][INSTANCE] = "kafka".into();
        let ready =
            pod(&json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}));
        assert_eq!(
            look(&json!({"items": [other, ready]}), "fireworks"),
            Look::default()
        );
    }

    #[test]
    fn set_whose_pods_are_not_made_yet_is_waited_for() {
        let set = json!({"kind": "StatefulSet", "metadata": {"name": "brownian", "labels": {INSTANCE: "fireworks"}},
            "spec": {"replicas": 3, "template": {"spec": {"containers": [{"image": "fireworks:abc"}]}}}, "status": {"readyReplicas": 1}});
        let (sentence, _) = said(std::slice::from_ref(&set));
        assert_eq!(sentence, "brownian: 1 of 3 pods are ready");
        let crashed = waiting("CrashLoopBackOff", "", 2);
        let found = workloads(&json!({"items": [set, crashed]}), "fireworks");
        assert_eq!(
            (found[0].restarts, found[0].image.as_str()),
            (2, "fireworks:abc")
        );
    }
}
