//! DescribeAcls, CreateAcls, DeleteAcls: refused as Kafka without an authorizer does, so that tools say so.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_protocol::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse,
    DescribeAclsResponse,
};
use kafka_protocol::protocol::StrBytes;

const CODE: i16 = ResponseError::SecurityDisabled.code();

fn message() -> Option<StrBytes> {
    let message = "there is no authorizer on this broker: everybody may do everything";
    Some(StrBytes::from_static_str(message))
}

pub fn describe_acls() -> DescribeAclsResponse {
    DescribeAclsResponse::default()
        .with_error_code(CODE)
        .with_error_message(message())
}

pub fn create_acls(request: &CreateAclsRequest) -> CreateAclsResponse {
    let refused = AclCreationResult::default()
        .with_error_code(CODE)
        .with_error_message(message());
    CreateAclsResponse::default().with_results(vec![refused; request.creations.len()])
}

pub fn delete_acls(request: &DeleteAclsRequest) -> DeleteAclsResponse {
    let refused = DeleteAclsFilterResult::default()
        .with_error_code(CODE)
        .with_error_message(message());
    DeleteAclsResponse::default().with_filter_results(vec![refused; request.filters.len()])
}
