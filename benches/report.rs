//! What was measured beside what, and the page that tells it.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::machine;
use crate::process::root;

/// What a ratio should be.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// It is there to be seen.
    Any,
}

/// A figure beside another of the same unit, each as often as it was measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    pub what: String,
    pub unit: String,
    pub ours: Vec<f64>,
    pub beside: String,
    pub theirs: Vec<f64>,
    pub target: Target,
    /// Why the target can't be met, where it is missed.
    pub reason: String,
}

/// The rows that were measured together.
#[derive(Debug, Serialize, Deserialize)]
pub struct Part {
    pub title: String,
    /// How it was measured.
    pub about: String,
    pub rows: Vec<Row>,
    /// When, and on what; filled in when it is kept.
    #[serde(default)]
    facts: Vec<String>,
}

impl Row {
    pub fn new(
        what: &str,
        unit: &str,
        ours: Vec<f64>,
        beside: &str,
        theirs: Vec<f64>,
        target: Target,
    ) -> Row {
        Row {
            what: what.to_owned(),
            unit: unit.to_owned(),
            ours,
            beside: beside.to_owned(),
            theirs,
            target,
            reason: String::new(),
        }
    }

    /// A figure that should not be above a limit.
    pub fn limited(what: &str, unit: &str, ours: Vec<f64>, limit: f64) -> Row {
        Row::new(what, unit, ours, "limit", vec![limit], Target::AtMost(1.0))
    }

    /// Says why the target can't be met, where it is missed.
    pub fn or_because(mut self, reason: &str) -> Row {
        reason.clone_into(&mut self.reason);
        self
    }

    /// The ratio of every run: of what was measured in turn.
    fn ratios(&self) -> Vec<f64> {
        let theirs = self.theirs.iter().cycle();
        let mut ratios: Vec<_> = self.ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }

    fn is_met(&self) -> bool {
        let ratio = median(&self.ratios());
        match self.target {
            Target::AtLeast(least) => ratio >= least,
            Target::AtMost(most) => ratio <= most,
            Target::Any => true,
        }
    }

    /// The cells of a table.
    fn cells(&self) -> [String; 7] {
        let ratios = self.ratios();
        let (first, last) = (ratios[0], ratios[ratios.len() - 1]);
        let (target, verdict) = match self.target {
            Target::AtLeast(least) => (format!("≥ {}", short(least)), self.is_met()),
            Target::AtMost(most) => (format!("≤ {}", short(most)), self.is_met()),
            Target::Any => (String::new(), true),
        };
        let verdict = match (target.is_empty(), verdict) {
            (true, _) => "",
            (false, true) => "met",
            (false, false) => "missed",
        };
        [
            self.what.clone(),
            self.unit.clone(),
            short(median(&self.ours)),
            format!("{}: {}", self.beside, short(median(&self.theirs))),
            format!(
                "{} ({}–{})",
                short(median(&ratios)),
                short(first),
                short(last)
            ),
            target,
            verdict.to_owned(),
        ]
    }
}

impl Part {
    pub fn new(title: &str, about: &str, rows: Vec<Row>) -> Part {
        Part {
            title: title.to_owned(),
            about: about.to_owned(),
            rows,
            facts: Vec::new(),
        }
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let [what, unit, ours, beside, ratio, target, verdict] = row.cells();
            let target = match target.as_str() {
                "" => String::new(),
                target => format!(", target {target}: {verdict}"),
            };
            writeln!(
                text,
                "{what}, {unit}: {ours}; {beside}; ratio {ratio}{target}"
            )
            .unwrap();
        }
        text
    }

    fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n{}\n\n", self.title, self.about);
        text += "| what | in | Fireworks | beside it | ratio (lowest–highest) | target | |\n|---|---|---:|---:|---:|---:|---|\n";
        for row in &self.rows {
            writeln!(text, "| {} |", row.cells().join(" | ")).unwrap();
        }
        for row in self
            .rows
            .iter()
            .filter(|row| !row.is_met() && !row.reason.is_empty())
        {
            writeln!(
                text,
                "\n**{}, beside {}, is missed:** {}",
                row.what, row.beside, row.reason
            )
            .unwrap();
        }
        writeln!(text, "\nTaken {}.", self.facts.join("; ")).unwrap();
        text
    }

    /// Keeps it for the page.
    pub fn keep(mut self, name: &str) {
        self.facts = machine::facts();
        self.facts.insert(0, machine::date());
        let path = path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, serde_json::to_vec_pretty(&self).unwrap()).unwrap();
    }
}

fn path(name: &str) -> PathBuf {
    root().join("target/bench").join(format!("{name}.json"))
}

/// `BENCHMARKS.md`.
#[derive(Debug)]
pub struct Page {
    parts: Vec<Part>,
}

impl Page {
    /// What was measured last of each part.
    pub fn of(names: &[&str]) -> Page {
        let read = |name: &&str| serde_json::from_slice(&fs::read(path(name)).ok()?).ok();
        Page {
            parts: names.iter().filter_map(read).collect(),
        }
    }

    pub fn write(&self) {
        let mut text = String::from(
            "# What it costs\n\n\
             Written by `make bench`, which measures everything here on the machine at hand, in turn with what stands\n\
             beside it; a figure is the median of its runs, and a ratio is taken run by run. Absolute figures are the\n\
             machine's; the ratios are the claim. What each program wrote was compared with what it should have.\n\
             `make bench PARTS=NAME` measures one part anew. The peers are in `benches/peers/`.\n",
        );
        for part in &self.parts {
            text += "\n";
            text += &part.markdown();
        }
        fs::write(root().join("benches/BENCHMARKS.md"), text).unwrap();
    }

    pub fn summary(&self) -> String {
        let has_target = |row: &&Row| !matches!(row.target, Target::Any);
        let rows = self.parts.iter().flat_map(|part| &part.rows);
        let rows: Vec<_> = rows.filter(has_target).collect();
        let met = rows.iter().filter(|row| row.is_met()).count();
        format!("{met} of {} targets met: benches/BENCHMARKS.md", rows.len())
    }
}

/// The value in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The figure in the middle, of what was measured several times.
pub fn median_of<T>(costs: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    median(&costs.iter().map(figure).collect::<Vec<_>>())
}

/// Three digits, and thousands apart.
fn short(value: f64) -> String {
    if value >= 1000.0 {
        let whole = format!("{value:.0}");
        let digits = whole.len();
        let mut text = String::new();
        for (i, digit) in whole.chars().enumerate() {
            if i > 0 && (digits - i) % 3 == 0 {
                text.push(',');
            }
            text.push(digit);
        }
        return text;
    }
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 0.1 => format!("{v:.2}"),
        v => format!("{v:.4}"),
    }
}
