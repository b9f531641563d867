//! What the nodes of a cluster say about themselves. Pure: from what Kubernetes answered to a sentence.

use serde::Serialize;
use serde_json::Value;

use super::wait::Look;

/// A node as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    pub name: String,
    pub address: String,
    pub pod_cidr: String,
    pub version: String,
    /// Nothing where it is ready, or what it says instead.
    pub trouble: Option<String>,
}

/// The nodes of a list of objects.
pub fn nodes(list: &Value) -> Vec<Node> {
    let items = list["items"].as_array();
    items.into_iter().flatten().map(node).collect()
}

fn node(object: &Value) -> Node {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let find = |list: &Value, kind: &str| {
        let entries = list.as_array().into_iter().flatten();
        entries
            .into_iter()
            .find(|entry| entry["type"] == kind)
            .cloned()
            .unwrap_or_default()
    };
    let ready = find(&object["status"]["conditions"], "Ready");
    let trouble = match ready["status"].as_str() {
        Some("True") => None,
        Some("Unknown") => Some("its kubelet is silent".to_owned()),
        Some(_) => Some(text(&ready["message"])),
        None => Some("it has only just come".to_owned()),
    };
    Node {
        name: text(&object["metadata"]["name"]),
        address: text(&find(&object["status"]["addresses"], "InternalIP")["address"]),
        pod_cidr: text(&object["spec"]["podCIDR"]),
        version: text(&object["status"]["nodeInfo"]["kubeletVersion"]),
        trouble,
    }
}

/// What is being waited for until all nodes are ready.
pub fn look(list: &Value) -> Look {
    let nodes = nodes(list);
    let waiting = nodes.iter().find(|node| node.trouble.is_some());
    let reason = waiting.map(|node| {
        let ready = nodes.iter().filter(|node| node.trouble.is_none()).count();
        let trouble = node.trouble.clone().unwrap_or_default();
        format!(
            "{ready} of {} nodes ready; {}: {}",
            nodes.len(),
            node.name,
            first_sentence(&trouble)
        )
    });
    Look {
        reason,
        hopeless: None,
    }
}

/// Kubernetes writes the cause behind the last colon of a reason that begins with the subsystem.
fn first_sentence(message: &str) -> &str {
    message.rsplit("message:").next().unwrap_or(message).trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(name: &str, status: &str, message: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {"podCIDR": "10.244.1.0/24"}, "status": {
            "addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": "172.18.0.2"}],
            "nodeInfo": {"kubeletVersion": "v1.34.4"},
            "conditions": [{"type": "MemoryPressure", "status": "False"},
                           {"type": "Ready", "status": status, "message": message}]}})
    }

    #[test]
    fn node_that_is_not_ready_is_named_with_its_reason() {
        let list = json!({"items": [object("a", "True", "kubelet is posting ready status"),
            object("b", "False", "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized")]});
        assert_eq!(
            look(&list).reason.unwrap(),
            "1 of 2 nodes ready; b: Network plugin returns error: cni plugin not initialized"
        );
        assert_eq!(nodes(&list)[0].address, "172.18.0.2");
    }

    #[test]
    fn nodes_that_are_all_ready_are_nothing_to_wait_for() {
        assert_eq!(
            look(&json!({"items": [object("a", "True", "")]})),
            Look::default()
        );
    }
}
