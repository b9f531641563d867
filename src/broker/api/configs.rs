//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs.
//!
//! Topics can be described and altered. The broker describes what it would be asked for; its own settings
//! are flags and are not altered at run time.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::incremental_alter_configs_response as incremental;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Call, distinct};
use crate::broker::limits;
use crate::broker::refusal::Refusal;
use crate::broker::state::{Node, State};
use crate::broker::topics::config::{DEFINITIONS, Definition, Kind, TopicConfig};
use crate::broker::wire::text;

/// Resource types.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Where a value comes from.
const SET_FOR_TOPIC: i8 = 1;
const SET_AT_START: i8 = 4;
const BY_DEFAULT: i8 = 5;

/// Where the value of a topic's setting comes from.
pub fn source_of(config: &TopicConfig, definition: &Definition) -> i8 {
    if config.is_set(definition) {
        SET_FOR_TOPIC
    } else {
        BY_DEFAULT
    }
}

pub fn describe_configs(
    call: &Call<'_>,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let state = call.core.state();
    let key = |resource: &'_ DescribeConfigsResource| {
        (resource.resource_type, resource.resource_name.clone())
    };
    let results = distinct(&request.resources, key).map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match describe(call, &state, request, resource) {
            Ok(configs) => result.with_configs(configs),
            Err(refusal) => result
                .with_error_code(refusal.code())
                .with_error_message(refusal.wire_message()),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn describe(
    call: &Call<'_>,
    state: &State,
    request: &DescribeConfigsRequest,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let mut configs = match resource.resource_type {
        TOPIC => {
            let topic = state
                .topics
                .get(&resource.resource_name)
                .ok_or(ResponseError::UnknownTopicOrPartition)?;
            DEFINITIONS
                .iter()
                .map(|definition| of_topic(&topic.config, definition))
                .collect()
        }
        BROKER if resource.resource_name.is_empty() => Vec::new(),
        BROKER if *resource.resource_name == *Node::ID.to_string() => of_broker(call, state),
        BROKER => {
            let message = format!(
                "there is no broker `{}`, only {}",
                resource.resource_name,
                Node::ID
            );
            return Err(Refusal::new(ResponseError::InvalidRequest, message));
        }
        _ => return Err(unsupported()),
    };
    if let Some(keys) = resource
        .configuration_keys
        .as_ref()
        .filter(|keys| !keys.is_empty())
    {
        configs.retain(|config| keys.contains(&config.name));
    }
    for config in &mut configs {
        if !request.include_synonyms {
            config.synonyms.clear();
        }
        if !request.include_documentation {
            config.documentation = None;
        }
        if call.version < 3 {
            config.config_type = 0;
        }
    }
    Ok(configs)
}

fn of_topic(config: &TopicConfig, definition: &Definition) -> DescribeConfigsResourceResult {
    let synonym = |name: &str, value: &str, source| {
        DescribeConfigsSynonym::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
            .with_source(source)
    };
    let mut synonyms = Vec::new();
    if config.is_set(definition) {
        synonyms.push(synonym(
            definition.name,
            config.value(definition),
            SET_FOR_TOPIC,
        ));
    }
    if let Some(name) = definition.synonym {
        synonyms.push(synonym(name, definition.default, BY_DEFAULT));
    }
    DescribeConfigsResourceResult::default()
        .with_name(text(definition.name))
        .with_value(Some(text(config.value(definition))))
        .with_config_source(source_of(config, definition))
        .with_synonyms(synonyms)
        .with_config_type(definition.kind as i8)
        .with_documentation(Some(text(definition.documentation)))
}

/// The settings of the broker that clients look at, all of them fixed.
fn of_broker(call: &Call<'_>, state: &State) -> Vec<DescribeConfigsResourceResult> {
    let node = &call.core.node;
    let set_at_start = [
        ("node.id", Node::ID.to_string(), Kind::Int),
        (
            "listeners",
            format!("PLAINTEXT://{}:{}", node.host, node.port),
            Kind::String,
        ),
        (
            "log.retention.bytes",
            state.retention_bytes.to_string(),
            Kind::Long,
        ),
    ];
    let by_default = [
        (
            "auto.create.topics.enable",
            "false".to_owned(),
            Kind::Boolean,
        ),
        (
            "connections.max.idle.ms",
            limits::IDLE.as_millis().to_string(),
            Kind::Long,
        ),
        ("default.replication.factor", "1".to_owned(), Kind::Int),
        ("delete.topic.enable", "true".to_owned(), Kind::Boolean),
        (
            "fetch.max.bytes",
            limits::FETCH_BYTES.to_string(),
            Kind::Int,
        ),
        (
            "group.initial.rebalance.delay.ms",
            "0".to_owned(),
            Kind::Int,
        ),
        (
            "group.max.session.timeout.ms",
            limits::SESSION_TIMEOUT_MS.end().to_string(),
            Kind::Int,
        ),
        (
            "group.min.session.timeout.ms",
            limits::SESSION_TIMEOUT_MS.start().to_string(),
            Kind::Int,
        ),
        ("num.partitions", "1".to_owned(), Kind::Int),
        (
            "offset.metadata.max.bytes",
            limits::OFFSET_METADATA_BYTES.to_string(),
            Kind::Int,
        ),
        (
            "socket.request.max.bytes",
            limits::PRODUCE_FRAME_BYTES.to_string(),
            Kind::Int,
        ),
        (
            "transaction.max.timeout.ms",
            limits::TRANSACTION_TIMEOUT_MS.to_string(),
            Kind::Int,
        ),
    ];
    let with_source = |source| move |(name, value, kind)| (name, value, kind, source);
    let settings = set_at_start.map(with_source(SET_AT_START)).into_iter();
    let settings = settings.chain(by_default.map(with_source(BY_DEFAULT)));
    let describe = |(name, value, kind, source): (&str, String, Kind, i8)| {
        DescribeConfigsResourceResult::default()
            .with_name(text(name))
            .with_value(Some(text(&value)))
            .with_read_only(true)
            .with_config_source(source)
            .with_config_type(kind as i8)
    };
    settings.map(describe).collect()
}

pub fn alter_configs(call: &Call<'_>, request: &AlterConfigsRequest) -> AlterConfigsResponse {
    let mut state = call.core.state();
    let responses = request.resources.iter().map(|resource| {
        let outcome = alter(
            &mut state,
            resource.resource_type,
            &resource.resource_name,
            request.validate_only,
            |config| {
                // This older request names all that shall be set: the rest goes back to its default.
                *config = TopicConfig::default();
                resource
                    .configs
                    .iter()
                    .try_for_each(|setting| config.set(&setting.name, setting.value.as_deref()))
            },
        );
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match outcome {
            Ok(()) => response,
            Err(refusal) => response
                .with_error_code(refusal.code())
                .with_error_message(refusal.wire_message()),
        }
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

pub fn incremental_alter_configs(
    call: &Call<'_>,
    request: &IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut state = call.core.state();
    let responses = request.resources.iter().map(|resource| {
        let outcome = alter(
            &mut state,
            resource.resource_type,
            &resource.resource_name,
            request.validate_only,
            |config| {
                let mut settings = resource.configs.iter();
                settings.try_for_each(|setting| {
                    edit(
                        config,
                        setting.config_operation,
                        &setting.name,
                        setting.value.as_ref(),
                    )
                })
            },
        );
        let response = incremental::AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match outcome {
            Ok(()) => response,
            Err(refusal) => response
                .with_error_code(refusal.code())
                .with_error_message(refusal.wire_message()),
        }
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

/// Set, delete, append, subtract: by their numbers.
fn edit(
    config: &mut TopicConfig,
    operation: i8,
    name: &str,
    value: Option<&StrBytes>,
) -> Result<(), Refusal> {
    let needs_value = || {
        let message = format!("{name} needs a value");
        value.ok_or_else(|| Refusal::new(ResponseError::InvalidRequest, message))
    };
    match operation {
        0 => config.set(name, Some(needs_value()?)),
        1 => config.set(name, None),
        2 => config.append(name, needs_value()?),
        3 => config.subtract(name, needs_value()?),
        _ => Err(Refusal::new(
            ResponseError::InvalidRequest,
            format!("there is no operation {operation}"),
        )),
    }
}

/// Changes the settings of a topic, all or nothing.
fn alter(
    state: &mut State,
    resource_type: i8,
    name: &str,
    validate_only: bool,
    change: impl FnOnce(&mut TopicConfig) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    if resource_type != TOPIC {
        return Err(unsupported());
    }
    let topic = state
        .topics
        .get_mut(name)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    let mut config = topic.config.clone();
    change(&mut config)?;
    if !validate_only {
        topic.config = config;
    }
    Ok(())
}

fn unsupported() -> Refusal {
    Refusal::new(
        ResponseError::InvalidRequest,
        "only the settings of topics can be altered on this broker",
    )
}
