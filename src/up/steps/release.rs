//! The part of the plan that installs Kafka and the pipeline, and waits for them. Pure.

use xxhash_rust::xxh64::xxh64;

use super::super::files;
use super::super::plan::{Act, Check, Part, Step, Watch};
use super::Builder;

impl Builder<'_> {
    pub fn kafka(&self, replicas: u8, image: &str) -> Step {
        let values = serde_json::json!({"image": image, "replicas": replicas});
        let brokers = if replicas == 1 {
            "1 broker"
        } else {
            "3 brokers, three copies"
        };
        let step = Step::new("kafka", format!("Kafka: {brokers}"));
        let step = step.after(&["files", "namespace", "nodes", "load-kafka"]);
        self.release(step, "kafka", &values, &["statefulset/kafka"])
    }

    pub fn fireworks(&self) -> Step {
        let source = match self.settings.spark_image {
            None => "generate",
            Some(_) => "generate (Spark)",
        };
        let title = format!("the pipeline: {source}, brownian, dashboard");
        let step = Step::new("fireworks", title).after(&[
            "files",
            "namespace",
            "nodes",
            "load",
            "load-spark",
            "kafka",
        ]);
        let objects = [
            "deployment/generate",
            "statefulset/brownian",
            "deployment/dashboard",
        ];
        self.release(
            step,
            "fireworks",
            &self.settings.pipeline_values(self.facts),
            &objects,
        )
    }

    /// A helm release of a chart of ours: freed where it is stuck, installed unless it is there with the same chart
    /// and values, and waited for.
    fn release(
        &self,
        step: Step,
        name: &'static str,
        values: &serde_json::Value,
        objects: &[&str],
    ) -> Step {
        let values = format!("{values:#}\n");
        let content = files::hash() ^ xxh64(values.as_bytes(), 0);
        let version = format!("fireworks-up-{content:016x}");
        let status = || self.target.helm().args(["status", name, "--output=json"]);
        let chart = self
            .folder()
            .join("kind/charts")
            .join(name)
            .display()
            .to_string();
        // What is pending and not ours to wait for was left by an interruption: back to what was there, or to nothing.
        let mut stuck = Part::when(
            [Check::says(status(), "\"status\":\"pending-")],
            [self.target.helm().args(["rollback", name])],
        );
        stuck.otherwise = vec![Act::Run(self.target.helm().args(["uninstall", name]))];
        // helm 4 applies on the server, which refuses what somebody else has set since, such as the replicas by
        // `kubectl scale`; helm 3 overwrites it, and has no such flag.
        let is_on_server = self
            .facts
            .helm
            .found()
            .is_some_and(|version| version.0 >= 4);
        let upgrade = self
            .target
            .helm()
            .args(["upgrade", "--install", name, &chart])
            .args(is_on_server.then_some("--force-conflicts"))
            .args([&format!("--description={version}"), "--values=-"])
            .stdin(values);
        let objects_there =
            Check::succeeds(self.in_namespace().arg("get").args(objects.iter().copied()));
        let mut step = step.part(stuck).part(Part::unless(
            [
                Check::says(status(), &version),
                Check::says(status(), "\"status\":\"deployed\""),
                objects_there,
            ],
            [upgrade],
        ));
        for object in objects {
            let command = self
                .in_namespace()
                .args(["rollout", "status", object, &self.seconds()]);
            step = step.part(Part::wait(Act::Wait {
                command: command.within(self.patience()),
                watch: Watch::Release {
                    name: name.to_owned(),
                    kubectl: self.in_namespace(),
                },
            }));
        }
        step
    }
}
