//! The reducer: records in, messages for the browsers out.
//!
//! Everything the page shows is kept here and nowhere else. Pure: it has no clock, thread or connection;
//! the time and the state of the tail are arguments.

use super::axis::{Axis, Place, Sender};
use super::bad::BadRecords;
use super::crowd::{BUCKETS, Crowd, Summary};
use super::decode::{Bad, Decoder, Point};
use super::devices::{Device, Devices, Found, Grid, MAX_DRAWN, MAX_POINTS, MAX_TOP, Pool};
use super::meters::{Latency, Meters, Silence};
use super::wire::{About, Latest, Message, Now, Path, Points, State, json};
use crate::kafka::tail::{Phase, Record, Status};

/// A browser hears something at least this often, so that it can tell silence from a lost connection.
const HEARTBEAT: i64 = 1_000;
/// How often it is chosen anew which devices are drawn.
const RANK: i64 = 2_000;
/// For so long after its first point a picture sorts its colours.
const YOUTH: i64 = 3_000;
/// Points with stray times that wait for the axis to follow them.
const STRAYS: usize = 8;

/// What a picture is of.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Names this process: message numbers of another one mean nothing here.
    pub epoch: String,
    pub topic: String,
    /// Where Kafka is, as the user put it.
    pub kafka: String,
    /// Milliseconds of event time.
    pub window: i64,
    /// The field that is drawn; `None` leaves it to the records.
    pub field: Option<String>,
}

#[derive(Debug)]
pub struct Picture {
    subject: Subject,
    grid: Grid,
    started: i64,
    decoder: Decoder,
    axis: Axis,
    devices: Devices,
    crowd: Crowd,
    pool: Option<Pool>,
    pool_changed: bool,
    meters: Meters,
    to_broker: Meters,
    to_server: Meters,
    silence: Silence,
    bad: BadRecords,
    strays: Vec<Point<'static>>,
    records: u64,
    others: u64,
    first_point: Option<i64>,
    ranked: i64,
    /// When it was last told something: what tells a clock that was set back.
    clock: i64,
    /// Whether the next message is the whole picture: it is of another field than the last one.
    is_new: bool,
    sent: Option<Sent>,
}

/// What the last message said, beside the points.
#[derive(Debug, PartialEq)]
struct Sent {
    at: i64,
    phase: Phase,
    records: u64,
    bad: u64,
}

impl Picture {
    pub fn new(subject: Subject, now: i64) -> Picture {
        Picture {
            grid: Grid::of(subject.window),
            started: now,
            decoder: Decoder::new(subject.field.clone()),
            axis: Axis::new(subject.window),
            crowd: Crowd::new(Grid::of(subject.window)),
            subject,
            devices: Devices::default(),
            pool: None,
            pool_changed: false,
            meters: Meters::default(),
            to_broker: Meters::of_spans(),
            to_server: Meters::default(),
            silence: Silence::default(),
            bad: BadRecords::default(),
            strays: Vec::new(),
            records: 0,
            others: 0,
            first_point: None,
            ranked: 0,
            clock: now,
            is_new: false,
            sent: None,
        }
    }

    /// Takes records in the order of arrival.
    pub fn apply<'a>(&mut self, records: impl Iterator<Item = Record<'a>>, now: i64) {
        self.silence.arrival(now);
        for record in records {
            self.records += 1;
            match self.decoder.decode(&record) {
                Ok(point) => {
                    if self.decoder.take_change() {
                        self.clear();
                    }
                    self.measure(&record, Some(point.time));
                    self.place(&point, &record, now);
                }
                Err(reason) => {
                    self.measure(&record, None);
                    self.bad.add(reason, &record);
                }
            }
        }
    }

    /// Counts a record in rate and latency, unless it was there before us: in the log, or made up for the
    /// time before we began, as a back-fill does. A replay's times say nothing about latency.
    fn measure(&mut self, record: &Record<'_>, event: Option<i64>) {
        let event = event.or(record.timestamp);
        let is_backfill = event.is_some_and(|time| {
            (self.started - 2 * self.grid.window..self.started).contains(&time)
        });
        if record.history || is_backfill {
            return;
        }
        let event = event.filter(|time| *time >= self.started);
        self.meters.count(event);
        if let Some(taken) = record.timestamp.filter(|_| record.appended) {
            self.to_server.count(Some(taken));
            self.to_broker.count(event.map(|event| taken - event));
        }
    }

    fn place(&mut self, point: &Point<'_>, record: &Record<'_>, now: i64) {
        // A log goes back further than the window, and its partitions are read one after the other: what is older
        // than the newest of another one is no stray.
        let begin = self.axis.head().map(|head| head - self.grid.window);
        let is_past = record.history && begin.is_some_and(|begin| point.time < begin);
        if is_past && self.axis.is_current(now) {
            return;
        }
        match self.axis.place(point.time, self.sender(point), now) {
            Place::Inside => self.draw(point, now),
            Place::Stray => {
                if self.strays.len() == STRAYS {
                    self.strays.remove(0);
                    if !is_past {
                        self.bad.add(Bad::StrayTime, record);
                    }
                }
                self.strays.push(Point {
                    device: point.device.clone().into_owned().into(),
                    ..*point
                });
            }
            Place::Moved => {
                self.draw_strays(now);
                // It may be the mad one among those that have moved the axis.
                self.place_again(point, now);
            }
        }
    }

    fn sender(&self, point: &Point<'_>) -> Sender {
        match self.devices.pace(&point.device) {
            Some((number, is_ahead)) => Sender {
                number: Some(number),
                is_ahead,
            },
            None => Sender::default(),
        }
    }

    fn draw_strays(&mut self, now: i64) {
        for point in std::mem::take(&mut self.strays) {
            self.place_again(&point, now);
        }
    }

    fn place_again(&mut self, point: &Point<'_>, now: i64) {
        match self.axis.place(point.time, self.sender(point), now) {
            Place::Inside => self.draw(point, now),
            Place::Stray | Place::Moved => self.bad.count(Bad::StrayTime),
        }
    }

    /// Lets go of what was drawn: it was of another field.
    fn clear(&mut self) {
        self.devices = Devices::default();
        self.crowd = Crowd::new(self.grid);
        self.pool = None;
        self.strays.clear();
        self.axis.settle(0, None);
        self.is_new = true;
    }

    fn draw(&mut self, point: &Point<'_>, now: i64) {
        self.first_point.get_or_insert(now);
        match self.devices.take(point, self.grid) {
            // What lies ahead of the axis would push the columns out that are looked at.
            Some(_) if self.axis.head().is_some_and(|head| point.time > head) => {}
            Some(number) => {
                let bucket = self.grid.bucket_of(point.time);
                self.crowd.take(number, bucket, point.value);
            }
            None => self.others += 1,
        }
    }

    /// The message of a tick; `None` where there is nothing to say.
    pub fn message(&mut self, seq: u64, now: i64, status: &Status) -> Option<Vec<u8>> {
        self.notice_clock(now);
        for meters in [&mut self.meters, &mut self.to_broker, &mut self.to_server] {
            meters.tick(now);
        }
        self.tend(now, status.phase == Phase::Live);
        let sent = Sent {
            at: now,
            phase: status.phase.clone(),
            records: self.records,
            bad: self.bad.total,
        };
        let is_due = self.sent.as_ref().is_none_or(|last| {
            now - last.at >= HEARTBEAT || last.phase != sent.phase || last.records != sent.records
        });
        if !is_due {
            return None;
        }
        let bad_changed = self.sent.as_ref().is_none_or(|last| last.bad != sent.bad);
        self.sent = Some(sent);
        if std::mem::take(&mut self.is_new) {
            return Some(self.snapshot(seq, now, status));
        }
        let mut points = Points::default();
        let mut whole = Vec::new();
        for (i, device) in self.devices.drawn_mut() {
            if std::mem::take(&mut device.is_whole) {
                device.changed.clear();
                whole.push(i);
            }
            for bucket in device.changed.drain(..) {
                if let Some(value) = device.series.get(bucket) {
                    points.i.push(i);
                    points.b.push(bucket);
                    points.y.push(value);
                }
            }
        }
        let latest = self.take_latest();
        let top_changed = std::mem::take(&mut self.devices.top_changed);
        let left = std::mem::take(&mut self.devices.left);
        let columns = self.crowd.changes();
        let pool_changed = std::mem::take(&mut self.pool_changed);
        let first = self.first_bucket();
        let path = |i: &u32| {
            self.devices
                .get(*i)
                .map(|device| Path::of(*i, &device.id, device.series.points(first)))
        };
        Some(json(&Message {
            seq,
            now: self.now(now, status),
            about: None,
            left,
            series: whole.iter().filter_map(path).collect(),
            points,
            latest,
            columns,
            pool: pool_changed.then_some(self.pool),
            top: top_changed.then(|| self.devices.top()),
            bad: bad_changed.then_some(&self.bad),
        }))
    }

    /// All of the picture, for a browser that begins or has missed something.
    pub fn snapshot(&self, seq: u64, now: i64, status: &Status) -> Vec<u8> {
        let first = self.first_bucket();
        let top = self.devices.top();
        json(&Message {
            seq,
            now: self.now(now, status),
            about: Some(About {
                epoch: &self.subject.epoch,
                topic: &self.subject.topic,
                kafka: &self.subject.kafka,
                window_ms: self.grid.window,
                bucket_ms: self.grid.bucket,
                column_ms: self.grid.bucket * BUCKETS,
                max_drawn: MAX_DRAWN,
                max_top: MAX_TOP,
            }),
            left: Vec::new(),
            series: self
                .devices
                .drawn()
                .map(|(i, d)| Path::of(i, &d.id, d.series.points(first)))
                .collect(),
            points: Points::default(),
            latest: top
                .iter()
                .flatten()
                .filter_map(|i| Some(latest(*i, self.devices.get(*i)?)))
                .collect(),
            columns: self.crowd.summaries().map(Summary::clone).collect(),
            pool: Some(self.pool),
            top: Some(top),
            bad: Some(&self.bad),
        })
    }

    /// Begins anew: what is in the picture is of a topic that is gone.
    pub fn restart(&mut self, now: i64) {
        *self = Picture::new(self.subject.clone(), now);
    }

    fn take_latest(&mut self) -> Vec<Latest> {
        let top: Vec<u32> = self.devices.top().iter().copied().flatten().collect();
        let fresh = self
            .devices
            .drawn_mut()
            .filter(|(i, device)| device.is_fresh && top.contains(i));
        fresh
            .map(|(i, device)| {
                device.is_fresh = false;
                latest(i, device)
            })
            .collect()
    }

    /// A clock that was set back would leave rates, heartbeats and choices waiting for as long.
    fn notice_clock(&mut self, now: i64) {
        if now < self.clock - HEARTBEAT {
            self.ranked = 0;
            self.sent = None;
            self.meters = Meters::default();
            self.to_broker = Meters::of_spans();
            self.to_server = Meters::default();
            self.silence = Silence::default();
            self.first_point = self.first_point.map(|first| first.min(now));
            self.axis.set_back(now);
        }
        self.clock = now;
    }

    /// What time itself changes.
    fn tend(&mut self, now: i64, is_live: bool) {
        if self.axis.is_abandoned(now) {
            self.axis.move_to_strays(now);
            self.draw_strays(now);
        }
        if self.first_point.is_some_and(|first| now - first < YOUTH) {
            self.devices.sort_top();
        }
        if let Some(head) = self.axis.head().filter(|_| now - self.ranked >= RANK) {
            self.ranked = now;
            self.devices.rank(head, self.grid.window, now);
            let (devices, newest) = self.devices.compare(self.axis.tolerance());
            // While history loads, partitions are ahead of each other, not clocks.
            let is_told = is_live && self.devices.ahead > 0;
            self.axis.settle(devices, newest.filter(|_| is_told));
            self.survey();
        }
        self.fill_entered();
    }

    /// What the devices say together.
    fn survey(&mut self) {
        for number in std::mem::take(&mut self.devices.gone) {
            self.crowd.forget(number);
        }
        let pool = self.devices.pool();
        self.pool_changed |= pool != self.pool;
        self.pool = pool;
        self.crowd.set_sigmas(self.devices.volatilities());
        let sigma = pool.map(|pool| pool.volatility);
        self.crowd.set_sigma(sigma.filter(|sigma| *sigma > 0.0));
        self.crowd.set_spread(self.devices.is_crowd);
    }

    /// A device that is drawn again gets the past that the crowd has of it.
    fn fill_entered(&mut self) {
        let span = self.grid.window / self.grid.bucket + 1;
        for number in std::mem::take(&mut self.devices.entered) {
            let Some(device) = self.devices.get_mut(number) else {
                continue;
            };
            let known = device
                .series
                .points(i64::MIN)
                .next()
                .map(|(bucket, _)| bucket);
            let newest = device.newest.0 / self.grid.bucket;
            for (bucket, value) in self.crowd.path(number) {
                if known.is_none_or(|known| bucket < known) && bucket >= newest - span {
                    let time = (bucket + 1) * self.grid.bucket - 1;
                    device
                        .series
                        .insert(bucket, time, 0, value, span, MAX_POINTS);
                }
            }
        }
    }

    /// Keeps a device in colour for a while; false where there is no such device.
    pub fn want(&mut self, id: &str, now: i64) -> bool {
        self.devices.want(id, now)
    }

    /// Devices with `text` in their names, and how many there are.
    pub fn search(&self, text: &str, limit: usize) -> (usize, Vec<Found>) {
        self.devices.search(text, limit)
    }

    /// Whether a field can be drawn, as far as is known: before the first record, any.
    pub fn has_field(&self, field: &str) -> bool {
        let fields = self.decoder.fields();
        fields.is_empty() || fields.iter().any(|known| known == field)
    }

    pub fn records(&self) -> u64 {
        self.records
    }

    pub fn bad(&self) -> u64 {
        self.bad.total
    }

    pub fn devices(&self) -> usize {
        self.devices.len()
    }

    pub fn field(&self) -> Option<&str> {
        self.decoder.field()
    }

    fn first_bucket(&self) -> i64 {
        self.axis
            .head()
            .map_or(i64::MIN, |head| self.grid.first(head))
    }

    fn now<'a>(&'a self, now: i64, status: &'a Status) -> Now<'a> {
        let latency = self.meters.latency();
        Now {
            at: now,
            state: State::of(status, self.records),
            head: self.axis.head(),
            current: self.axis.is_current(now),
            rate: (self.meters.rate(now) * 10.0).round() / 10.0,
            records: self.records,
            lag: status.lag,
            p50_ms: latency.map(|latency| latency.p50),
            p99_ms: latency.map(|latency| latency.p99),
            to_broker_ms: self.to_broker.latency().map(pair),
            to_server_ms: self.to_server.latency().map(pair),
            devices: self.devices.len(),
            crowd: self.devices.is_crowd,
            theory: self.crowd.theory(),
            ahead: self.devices.ahead,
            others: self.others,
            bad: self.bad.total,
            skipped: status.skipped,
            partitions: status.partitions,
            leaderless: &status.leaderless,
            arrived: self.silence.since(),
            patience_ms: self.silence.patience(),
            field: self.decoder.field(),
            fields: self.decoder.fields(),
        }
    }
}

fn pair(latency: Latency) -> (i64, i64) {
    (latency.p50, latency.p99)
}

fn latest(i: u32, device: &Device) -> Latest {
    Latest {
        i,
        time: device.newest.0,
        value: device.value,
        estimates: device.estimates,
    }
}

#[cfg(test)]
mod tests;
