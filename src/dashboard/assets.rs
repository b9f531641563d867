//! The page's files, in the binary: content-hashed addresses that never change their meaning.
//!
//! All files live under one directory named after the hash of them all, so that a module's relative
//! imports stay inside one version and a browser may keep them for ever.

use std::sync::LazyLock;

use bytes::Bytes;
use xxhash_rust::xxh64::Xxh64;

#[derive(Clone, Copy, Debug)]
pub struct Asset {
    pub name: &'static str,
    pub content_type: &'static str,
    body: &'static [u8],
}

impl Asset {
    pub fn body(&self) -> Bytes {
        Bytes::from_static(self.body)
    }
}

const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

macro_rules! assets {
    ($($name:literal: $content_type:expr),* $(,)?) => {
        &[$(Asset {
            name: $name,
            content_type: $content_type,
            body: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/static/", $name)),
        }),*]
    };
}

static ASSETS: &[Asset] = assets! {
    "app.css": CSS,
    "app.js": JS,
    "chart.js": JS,
    "connection-worker.js": JS,
    "connection.js": JS,
    "detail.js": JS,
    "dialogs.css": CSS,
    "dialogs.js": JS,
    "export.js": JS,
    "finder.js": JS,
    "format.js": JS,
    "gestures.js": JS,
    "icon.svg": "image/svg+xml",
    "layers.js": JS,
    "list.css": CSS,
    "list.js": JS,
    "model.js": JS,
    "panel.js": JS,
    "status.js": JS,
    "theme.css": CSS,
    "theory.js": JS,
    "tooltip.js": JS,
    "uPlot.LICENSE": "text/plain; charset=utf-8",
    "uPlot.iife.min.js": JS,
    "uPlot.min.css": CSS,
    "view.js": JS,
};

/// The version of all files together: the directory they are served from, and their ETag.
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Xxh64::new(0);
    for asset in ASSETS {
        hash.update(asset.name.as_bytes());
        hash.update(asset.body);
    }
    format!("{:016x}", hash.digest())
});

/// The page's own modules, beside the one that it begins with: a browser that knows them early needs one
/// journey less for each level of imports.
pub fn modules() -> impl Iterator<Item = &'static str> {
    let names = ASSETS.iter().map(|asset| asset.name);
    let is_apart = |name: &str| {
        matches!(
            name,
            "app.js" | "connection-worker.js" | "uPlot.iife.min.js"
        )
    };
    names.filter(move |name| name.ends_with(".js") && !is_apart(name))
}

pub fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_directory_is_embedded() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/static");
        for entry in std::fs::read_dir(directory).expect("the directory of the files") {
            let name = entry.expect("an entry").file_name();
            let name = name.to_str().expect("a name in text");
            if name.ends_with(".png") {
                // For the README.
                continue;
            }
            assert!(find(name).is_some(), "{name} is not in the list");
        }
    }

    #[test]
    fn vendored_chart_library_is_the_published_one() {
        let chart = find("uPlot.iife.min.js").expect("the chart library");
        assert_eq!(chart.body.len(), 51_081);
        assert!(
            chart
                .body
                .starts_with(b"/*! https://github.com/leeoniya/uPlot (v1.6.32) */")
        );
    }
}
