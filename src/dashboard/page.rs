//! The page, with the picture of this moment in it: history is there before any script asks for it.

use askama::Template;
use warp::Reply;
use warp::http::StatusCode;
use warp::http::header::CACHE_CONTROL;

use super::assets;
use super::board::Board;

#[derive(Template)]
#[template(path = "dashboard.html")]
struct Page<'a> {
    version: &'a str,
    topic: &'a str,
    modules: Vec<&'static str>,
    /// JSON that can't end its script element.
    snapshot: &'a str,
}

pub fn reply(board: &Board) -> impl Reply + use<> {
    let snapshot = inert(&board.snapshot());
    let page = Page {
        version: &assets::VERSION,
        topic: board.topic(),
        modules: assets::modules().collect(),
        snapshot: &snapshot,
    };
    let (status, html) = match page.render() {
        Ok(html) => (StatusCode::OK, html),
        Err(error) => {
            tracing::error!(%error, "failed to render the page");
            (StatusCode::INTERNAL_SERVER_ERROR, String::new())
        }
    };
    warp::reply::with_header(
        warp::reply::with_status(warp::reply::html(html), status),
        CACHE_CONTROL,
        "no-store",
    )
}

/// JSON as it may stand inside a script element: a `<` occurs in its strings only, and has an escape.
fn inert(json: &[u8]) -> String {
    String::from_utf8_lossy(json).replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_name_never_ends_the_script_element() {
        let json = serde_json::to_vec(&["</script><img onerror=alert(1)>", "<!--"]).expect("json");
        let inert = inert(&json);
        assert!(!inert.contains('<'));
        let back: [String; 2] = serde_json::from_str(&inert).expect("still the same JSON");
        assert_eq!(back[0], "</script><img onerror=alert(1)>");
    }
}
