//! How a [`Line`] is laid out as JSON: the header first, so that a person reading a trace sees it first.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    CounterLine, DropLine, Event, FilterLine, Line, Lost, PathLine, ProbesLine, SCHEMA, Start, Summary, Time,
};

#[derive(Serialize)]
struct Written<'a, Body: Serialize> {
    schema: &'static str,
    kind: &'static str,
    time: Time,
    node: &'a str,
    #[serde(flatten)]
    body: &'a Body,
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.event {
            Event::Start(body) => self.written("start", body.as_ref()).serialize(serializer),
            Event::Drop(body) => self.written("drop", body.as_ref()).serialize(serializer),
            Event::Path(body) => self.written("path", body.as_ref()).serialize(serializer),
            Event::Counter(body) => self.written("counter", body.as_ref()).serialize(serializer),
            Event::Probes(body) => self.written("probes", body).serialize(serializer),
            Event::Filter(body) => self.written("filter", body.as_ref()).serialize(serializer),
            Event::Lost(body) => self.written("lost", body).serialize(serializer),
            Event::Summary(body) => self.written("summary", body).serialize(serializer),
        }
    }
}

impl Line {
    fn written<'a, Body: Serialize>(&'a self, kind: &'static str, body: &'a Body) -> Written<'a, Body> {
        Written {
            schema: SCHEMA,
            kind,
            time: self.time,
            node: &self.node,
            body,
        }
    }
}

#[derive(Deserialize)]
struct Read {
    schema: String,
    time: Time,
    node: String,
    #[serde(flatten)]
    event: ReadEvent,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum ReadEvent {
    Start(Box<Start>),
    Drop(Box<DropLine>),
    Path(Box<PathLine>),
    Counter(Box<CounterLine>),
    Probes(ProbesLine),
    Filter(Box<FilterLine>),
    Lost(Lost),
    Summary(Summary),
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = Read::deserialize(deserializer)?;
        if read.schema != SCHEMA {
            return Err(de::Error::custom(format_args!("schema is not {SCHEMA}")));
        }
        let event = match read.event {
            ReadEvent::Start(body) => Event::Start(body),
            ReadEvent::Drop(body) => Event::Drop(body),
            ReadEvent::Path(body) => Event::Path(body),
            ReadEvent::Counter(body) => Event::Counter(body),
            ReadEvent::Probes(body) => Event::Probes(body),
            ReadEvent::Filter(body) => Event::Filter(body),
            ReadEvent::Lost(body) => Event::Lost(body),
            ReadEvent::Summary(body) => Event::Summary(body),
        };
        Ok(Self {
            time: read.time,
            node: read.node,
            event,
        })
    }
}
