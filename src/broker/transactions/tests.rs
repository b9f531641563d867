//! The coordinator told as values.

use super::*;
use ResponseError::*;

fn begun() -> (Transactions, ProducerId) {
    let mut transactions = Transactions::default();
    let (producer, ended) = transactions
        .init("t", 10_000, None, Now::at(0))
        .expect("a new id");
    assert!(ended.is_none());
    add(&mut transactions, producer).expect("it is the owner");
    (transactions, producer)
}

fn add(transactions: &mut Transactions, producer: ProducerId) -> Result<(), ResponseError> {
    transactions.add_partitions("t", producer, [("topic".to_owned(), 0)], Now::at(0))
}

#[test]
fn commit_names_what_it_covers_and_may_be_repeated_but_not_turned_around() {
    let (mut transactions, producer) = begun();
    transactions
        .add_group("t", producer, "group", Now::at(0))
        .expect("it is the owner");
    let ended = transactions.end("t", producer, Outcome::Commit, Now::at(0));
    let ended = ended.expect("it is ongoing").expect("it ends now");
    assert_eq!((ended.partitions.len(), ended.groups.len()), (1, 1));
    assert_eq!(ended.marker.producer_epoch, producer.epoch);
    assert!(
        transactions
            .end("t", producer, Outcome::Commit, Now::at(0))
            .expect("a repeat")
            .is_none()
    );
    assert_eq!(
        transactions
            .end("t", producer, Outcome::Abort, Now::at(0))
            .expect_err("it is refused"),
        InvalidTxnState
    );
}

#[test]
fn new_incarnation_aborts_and_fences_the_old_one() {
    let (mut transactions, old) = begun();
    let (new, ended) = transactions
        .init("t", 10_000, None, Now::at(1))
        .expect("anyone may");
    let marker = ended.expect("a transaction was open").marker;
    assert_eq!(
        (marker.outcome, marker.producer_epoch),
        (Outcome::Abort, old.epoch + 1)
    );
    assert_eq!((new.id, new.epoch), (old.id, old.epoch + 1));
    assert_eq!(add(&mut transactions, old), Err(ProducerFenced));
    assert_eq!(
        transactions
            .end("t", old, Outcome::Commit, Now::at(1))
            .expect_err("it is refused"),
        ProducerFenced
    );
    assert_eq!(
        transactions.check_partition(old, "topic", 0),
        Err(InvalidProducerEpoch)
    );
    assert_eq!(
        transactions.check_partition(new, "topic", 0),
        Err(InvalidTxnState)
    );
    assert_eq!(
        transactions
            .end("t", new, Outcome::Commit, Now::at(1))
            .expect_err("it is refused"),
        InvalidTxnState
    );
}

#[test]
fn overdue_transaction_is_aborted_and_its_producer_fenced() {
    let (mut transactions, producer) = begun();
    assert!(transactions.expire(Now::at(9_999)).is_empty());
    let ended = transactions.expire(Now::at(10_000));
    assert_eq!(ended[0].marker.producer_epoch, producer.epoch + 1);
    assert!(transactions.expire(Now::at(20_000)).is_empty());
    assert_eq!(
        transactions
            .end("t", producer, Outcome::Commit, Now::at(0))
            .expect_err("it is refused"),
        ProducerFenced
    );
}

#[test]
fn recovering_producer_gets_the_next_epoch_and_the_same_answer_twice() {
    let (mut transactions, producer) = begun();
    transactions
        .end("t", producer, Outcome::Abort, Now::at(0))
        .expect("it is ongoing");
    let again = |transactions: &mut Transactions| {
        transactions.init("t", 10_000, Some(producer), Now::at(0))
    };
    let (next, _) = again(&mut transactions).expect("it is the owner");
    assert_eq!(next.epoch, producer.epoch + 1);
    assert_eq!(again(&mut transactions).expect("a repeat").0, next);
    transactions
        .init("t", 10_000, None, Now::at(0))
        .expect("anyone may");
    assert_eq!(
        again(&mut transactions).expect_err("it is refused"),
        ProducerFenced
    );
}

#[test]
fn exhausted_epochs_lead_to_a_new_producer_id() {
    let (mut transactions, first) = begun();
    transactions
        .by_id
        .get_mut("t")
        .expect("it exists")
        .producer
        .epoch = LAST_EPOCH;
    let (next, ended) = transactions
        .init("t", 10_000, None, Now::at(0))
        .expect("anyone may");
    assert!(next.id != first.id && next.epoch == 0);
    assert_eq!(ended.expect("one was open").marker.producer_epoch, i16::MAX);
    assert_eq!(
        transactions.check_partition(first, "topic", 0),
        Err(InvalidProducerIdMapping)
    );
}

#[test]
fn timeouts_and_strangers_are_refused() {
    let (mut transactions, producer) = begun();
    for timeout in [0, -1, limits::TRANSACTION_TIMEOUT_MS + 1] {
        assert_eq!(
            transactions
                .init("u", timeout, None, Now::at(0))
                .expect_err("it is refused"),
            InvalidTransactionTimeout
        );
    }
    let stranger = ProducerId { id: 99, epoch: 0 };
    assert_eq!(
        add(&mut transactions, stranger),
        Err(InvalidProducerIdMapping)
    );
    assert_eq!(
        transactions.check_partition(producer, "topic", 1),
        Err(InvalidTxnState)
    );
    assert_eq!(
        transactions.check_group("t", producer, "group"),
        Err(InvalidTxnState)
    );
}

#[test]
fn number_of_groups_in_a_transaction_is_bounded() {
    let (mut transactions, producer) = begun();
    let mut add = |n: usize| transactions.add_group("t", producer, &n.to_string(), Now::at(0));
    for n in 0..limits::GROUPS_PER_TRANSACTION {
        add(n).expect("there is room");
    }
    assert_eq!(add(0), Ok(()));
    assert_eq!(add(limits::GROUPS_PER_TRANSACTION), Err(PolicyViolation));
}

#[test]
fn number_of_ids_is_bounded_by_forgetting_idle_ones() {
    let (mut transactions, _) = begun();
    for n in 0..limits::TRANSACTIONAL_IDS as u64 {
        transactions
            .init(&format!("id-{n}"), 1000, None, Now::at(n + 1))
            .expect("there is room");
    }
    assert_eq!(transactions.by_id.len(), limits::TRANSACTIONAL_IDS);
    assert!(transactions.get("t").is_some(), "it is ongoing");
    assert!(transactions.get("id-0").is_none());
    assert_eq!(transactions.owners.len(), limits::TRANSACTIONAL_IDS);
}
