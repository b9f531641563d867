//! Viewers of a board that come, lag, come back and leave.

use super::*;
use crate::kafka::tail::Record;
use tokio_stream::StreamExt;

fn board() -> Arc<Board> {
    let (sender, status) = watch::channel(Status {
        phase: Phase::Live,
        partitions: 1,
        leaderless: Vec::new(),
        lag: Some(0),
        skipped: 0,
    });
    // The last value outlives its sender.
    drop(sender);
    let showing = Showing {
        topic: "markov".into(),
        kafka: "kafka:9092".into(),
        window: 300_000,
        field: None,
        refresh: Duration::from_millis(100),
    };
    Arc::new(Board::new(showing, status))
}

fn send(board: &Board, value: &str) {
    let mut batch = Batch::default();
    batch.push(Record {
        partition: 0,
        offset: 0,
        timestamp: Some(now()),
        appended: false,
        history: false,
        key: Some(b"d"),
        value: Some(value.as_bytes()),
    });
    board.apply(&batch);
    board.tick();
}

async fn next(viewer: &mut Viewer) -> String {
    let mut event = Vec::new();
    while !event.ends_with(EVENT_END) {
        let part = viewer.next().await.expect("an event").expect("no error");
        event.extend_from_slice(&part);
    }
    String::from_utf8(event).expect("text")
}

fn seq_in(event: &str) -> u64 {
    let id = event
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .expect("an id");
    id.split_once('-')
        .expect("epoch and number")
        .1
        .parse()
        .expect("a number")
}

#[tokio::test]
async fn new_viewer_gets_a_snapshot_and_then_each_message_once() {
    let board = board();
    send(&board, "1");
    send(&board, "2");
    let mut viewer = board.join(None);
    assert_eq!(next(&mut viewer).await, "retry: 1000\n\n");
    let snapshot = next(&mut viewer).await;
    assert!(
        snapshot.contains("\"about\"") && snapshot.contains("\"y\":[2.0]"),
        "{snapshot}"
    );
    send(&board, "3");
    let message = next(&mut viewer).await;
    assert_eq!(seq_in(&message), seq_in(&snapshot) + 1);
    assert!(
        !message.contains("\"about\"") && message.contains("3.0"),
        "{message}"
    );
}

#[tokio::test]
async fn viewer_that_comes_back_gets_what_it_missed_and_no_snapshot() {
    let board = board();
    (1..=5).for_each(|n| send(&board, &n.to_string()));
    let mut viewer = board.join(Some(&board.id(2)));
    next(&mut viewer).await;
    for expected in 3..=5 {
        assert_eq!(seq_in(&next(&mut viewer).await), expected);
    }
    send(&board, "6");
    assert_eq!(seq_in(&next(&mut viewer).await), 6);
}

#[tokio::test]
async fn id_of_another_time_gets_a_snapshot() {
    let board = board();
    (0..650).for_each(|n| send(&board, &n.to_string()));
    let future = board.id(1_000_000);
    for last in ["other-3", "", "x", &future, "-1", &board.id(u64::MAX)] {
        let mut viewer = board.join(Some(last));
        next(&mut viewer).await;
        assert!(next(&mut viewer).await.contains("\"about\""), "{last}");
    }
}

#[tokio::test]
async fn viewer_that_comes_back_too_late_is_told_how_much_it_missed() {
    let board = board();
    (0..650).for_each(|n| send(&board, &n.to_string()));
    let mut viewer = board.join(Some(&board.id(3)));
    next(&mut viewer).await;
    assert_eq!(
        next(&mut viewer).await,
        "event: missed\ndata: {\"messages\":647}\n\n"
    );
    assert!(next(&mut viewer).await.contains("\"about\""));
}

#[tokio::test]
async fn those_who_come_within_a_second_share_a_snapshot_and_get_what_came_since() {
    let board = board();
    send(&board, "1");
    let first = board.join(None).backlog[2].clone();
    send(&board, "2");
    send(&board, "3");
    let mut viewer = board.join(None);
    assert_eq!(viewer.backlog[2].as_ptr(), first.as_ptr(), "the same bytes");
    next(&mut viewer).await;
    for seq in 1..=3 {
        assert_eq!(seq_in(&next(&mut viewer).await), seq);
    }
    let page = board.page(|json| json.to_vec().into());
    assert_eq!(
        board.page(|_| unreachable!("it is there")).as_ptr(),
        page.as_ptr()
    );
    assert_eq!(page, board.snapshot());
    (0..=SNAPSHOT_MESSAGES).for_each(|n| send(&board, &n.to_string()));
    assert_ne!(board.snapshot(), page, "it is too far behind by now");
}

#[tokio::test]
async fn viewer_that_does_not_read_is_told_and_gets_one_snapshot() {
    let board = board();
    let mut viewer = board.join(None);
    (0..100).for_each(|n| send(&board, &n.to_string()));
    next(&mut viewer).await;
    next(&mut viewer).await;
    let missed = next(&mut viewer).await;
    assert!(
        missed.starts_with("event: missed\n") && missed.contains("\"messages\":68"),
        "{missed}"
    );
    let snapshot = next(&mut viewer).await;
    assert!(snapshot.contains("\"about\""));
    assert_eq!(seq_in(&snapshot), 100);
    send(&board, "101");
    assert_eq!(seq_in(&next(&mut viewer).await), 101);
}

#[tokio::test]
async fn closing_ends_every_stream_and_new_ones_at_once() {
    let board = board();
    let mut viewer = board.join(None);
    send(&board, "1");
    board.close();
    for _ in ["retry", "snapshot", "message"] {
        next(&mut viewer).await;
    }
    assert!(viewer.next().await.is_none());
    let mut late = board.join(None);
    for _ in ["retry", "snapshot", "message"] {
        next(&mut late).await;
    }
    assert!(late.next().await.is_none());
}

#[tokio::test]
async fn remade_topic_is_a_new_picture_for_those_who_watch() {
    let board = board();
    send(&board, "1");
    let mut viewer = board.join(Some(&board.id(1)));
    next(&mut viewer).await;
    board.restart();
    let event = next(&mut viewer).await;
    assert!(
        event.contains("\"about\"") && !event.contains("\"series\""),
        "{event}"
    );
}

#[test]
fn names_never_end_a_line_of_the_stream() {
    let board = board();
    send(
        &board,
        r#"{"device_id":"a\r\n\r\nid: 9\ndata: x","position":1}"#,
    );
    let kept = board.lock().kept.back().expect("a message").event.clone();
    let text = String::from_utf8(kept.to_vec()).expect("text");
    assert_eq!(text.matches('\n').count(), 3, "{text}");
    assert!(!text.contains('\r'));
}
