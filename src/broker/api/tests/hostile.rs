//! What no client would send.

use super::*;

#[tokio::test]
async fn requests_that_make_no_sense_close_the_connection() {
    let core = core();
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let mut unknown_api = BytesMut::new();
    unknown_api.put_i16(999);
    unknown_api.put_slice(&[0; 20]);
    let mut old_version = BytesMut::new();
    old_version.put_i16(ApiKey::Produce as i16);
    old_version.put_slice(&[0; 20]);
    let mut huge_count = BytesMut::new();
    huge_count.put_i16(ApiKey::Metadata as i16);
    huge_count.put_slice(&[0, 1, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]);
    for frame in [
        unknown_api,
        old_version,
        huge_count,
        BytesMut::zeroed(8),
        BytesMut::new(),
    ] {
        assert!(matches!(
            answer(&core, frame.freeze(), peer).await,
            Answer::Close(_)
        ));
    }
}

proptest::proptest! {
    /// The header is right and the rest is anything: never a panic, never a hang.
    #[test]
    fn any_body_is_answered_or_refused(api in 0..apis::APIS.len(), version in 0..16_i16, body: Vec<u8>) {
        let (api, first, last) = apis::APIS[api];
        let mut frame = BytesMut::new();
        frame.put_i16(api as i16);
        frame.put_i16(first + version % (last - first + 1));
        frame.put_slice(&[0, 0, 0, 1, 0xff, 0xff]);
        frame.put_slice(&body);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let core = core();
            let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
            let limit = std::time::Duration::from_millis(200);
            // A join may wait for others, which is the group's business.
            tokio::time::timeout(limit, answer(&core, frame.freeze(), peer)).await.ok();
        });
    }
}
