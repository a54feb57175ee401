//! `type=s3`, against a server that checks signatures.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{BELOW_B, NOTHING, machines, three_readers, with_a_large_file};
use crate::support::peers::{Server, free_port};
use crate::support::{Context, Cooper, need};

/// Makes a bucket and a user who may use it; from then on the server takes nobody else's requests.
const SETUP: &str = r"
import boto3, json, sys
how = dict(endpoint_url=sys.argv[1], region_name='us-east-1',
           aws_access_key_id='none', aws_secret_access_key='none')
iam = boto3.client('iam', **how)
iam.create_user(UserName='ci')
allow = {'Version': '2012-10-17',
         'Statement': [{'Effect': 'Allow', 'Action': 's3:*', 'Resource': '*'}]}
iam.put_user_policy(UserName='ci', PolicyName='all', PolicyDocument=json.dumps(allow))
key = iam.create_access_key(UserName='ci')['AccessKey']
boto3.client('s3', **how).create_bucket(Bucket='caches')
print(key['AccessKeyId'], key['SecretAccessKey'])
";

/// A running moto with one bucket, `caches`, and its requests in a file.
struct Moto {
    server: Server,
    keys: (String, String),
    log: PathBuf,
}

impl Moto {
    /// Needs what `./dev setup` puts into `out/moto`.
    fn start(cooper: &Cooper) -> Option<Self> {
        let bin = need::source_tree().join("out/moto/bin");
        if !bin.join("moto_server").is_file() {
            return need::skip("moto is not installed (`./dev setup`)");
        }
        let port = free_port();
        let log = cooper.scratch("moto.log");
        let mut command = Command::new(bin.join("moto_server"));
        command
            .args(["-p", &port.to_string()])
            // As many as SETUP makes.
            .env("INITIAL_NO_AUTH_ACTION_COUNT", "4")
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a log"));
        let mut moto = Self {
            server: Server::start(&mut command, port),
            keys: Default::default(),
            log,
        };
        let mut setup = cooper.bare_command(bin.join("python"));
        setup.args(["-c", SETUP, &moto.url()]);
        let keys = crate::support::process::run(setup).ok().out();
        let (access, secret) = keys.trim().split_once(' ').expect("two keys");
        moto.keys = (access.to_owned(), secret.to_owned());
        Some(moto)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port)
    }

    /// Returns what names the bucket, with these keys.
    fn cache(&self, access: &str, secret: &str) -> String {
        format!(
            "type=s3,bucket=caches,region=us-east-1,prefix=ci/,name=main;feature,use_path_style=true,\
             endpoint_url={},access_key_id={access},secret_access_key={secret}",
            self.url()
        )
    }

    fn requests(&self, method: &str) -> usize {
        self.lines(&format!("{method} /caches/"))
    }

    fn lines(&self, what: &str) -> usize {
        let log = std::fs::read_to_string(&self.log).expect("a log");
        log.lines().filter(|line| line.contains(what)).count()
    }
}

#[test]
fn a_bucket_serves_an_empty_machine_and_only_what_is_missing_travels() {
    let Some((here, there)) = machines() else {
        return;
    };
    let Some(moto) = Moto::start(&here) else {
        return;
    };
    let context = three_readers();
    let cache = moto.cache(&moto.keys.0, &moto.keys.1);
    let to = format!("--cache-to={cache},mode=max");
    let from = format!("--cache-from={cache}");
    let first = here.build(&context, &["-otype=cacheonly", &to, &from]).ok();
    first.says("NoSuchKey").says("sent 7 blobs, 0 were there");
    let puts = moto.requests("PUT");
    assert_eq!(puts, 9, "seven layers and the list by two names");
    let again = here.build(&context, &["-otype=cacheonly", &to]).ok();
    again.says("sent 0 blobs, 7 were there");
    assert_eq!(moto.requests("PUT"), puts + 2);

    let gets = moto.requests("GET");
    let second = there.steps(&context, &["-otype=cacheonly", &from]).ok();
    assert_eq!(second.executed(), NOTHING);
    assert_eq!(moto.requests("GET"), gets + 1, "the list alone");
    context.write("b", "b2");
    let third = there.steps(&context, &["-t=a", &from]).ok();
    assert_eq!(third.executed(), BELOW_B);
    there
        .run(&["run", "--rm", "a", "cat", "/all"])
        .ok()
        .prints("a1b2");
}

#[test]
fn a_large_layer_is_sent_in_parts_and_what_is_still_named_is_kept_young() {
    let Some((here, there)) = machines() else {
        return;
    };
    let Some(moto) = Moto::start(&here) else {
        return;
    };
    // Parts of 5 MiB are the least that S3 takes.
    let context = with_a_large_file("FROM busybox\nCOPY large /\nRUN echo x >/x\n", 12 << 20);
    let cache = moto.cache(&moto.keys.0, &moto.keys.1);
    let to = format!("--cache-to={cache},mode=max,part_size=5m,upload_parallelism=3");
    here.build(&context, &["-otype=cacheonly", &to])
        .ok()
        .says("sent 2 blobs, 0 were there");
    assert_eq!(moto.lines("partNumber="), 3);
    assert_eq!(moto.lines("?uploads"), 1);
    let from = format!("--cache-from={cache}");
    let second = there.steps(&context, &["-t=a", &from]).ok();
    assert_eq!(second.executed(), NOTHING, "{}", second.outcome);
    there
        .run(&["run", "--rm", "a", "sh", "-c", "wc -c </large"])
        .ok()
        .prints("12582912\n");

    let puts = moto.requests("PUT");
    let refreshing = format!("{to},touch_refresh=0s");
    here.build(&context, &["-otype=cacheonly", &refreshing])
        .ok()
        .says("sent 0 blobs, 2 were there");
    assert_eq!(moto.requests("PUT"), puts + 2 + 2, "two copies, two lists");
    let Some(third) = Cooper::new() else { return };
    let after = third.steps(&context, &["-t=a", &from]).ok();
    assert_eq!(after.executed(), NOTHING, "{}", after.outcome);

    let wrong = to.replace("part_size=5m", "part_size=1m");
    let wrong = wrong.replace("prefix=ci/", "prefix=other/");
    let refused = here.build(&context, &["-otype=cacheonly", &wrong]).exits(1);
    refused.says("EntityTooSmall").says("part_size=");
}

#[test]
fn keys_come_from_the_environment_and_wrong_ones_are_said() {
    let Some(cooper) = Cooper::new() else { return };
    let Some(moto) = Moto::start(&cooper) else {
        return;
    };
    let context = Context::new("FROM busybox\nRUN echo x >/x\n");
    let wrong = moto.cache(&moto.keys.0, "wrong");
    let failed = cooper.build(
        &context,
        &["-otype=cacheonly", &format!("--cache-to={wrong}")],
    );
    failed.exits(1).says("403").says("AWS_SECRET_ACCESS_KEY");
    let mut command = cooper.build_command(
        context.path(),
        &[
            "--progress=plain",
            "-otype=cacheonly",
            "--cache-to=type=s3,bucket=caches,use_path_style=true",
        ],
    );
    command
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL", moto.url())
        .env("AWS_ACCESS_KEY_ID", &moto.keys.0)
        .env("AWS_SECRET_ACCESS_KEY", &moto.keys.1);
    let built = crate::support::process::run(command).ok();
    built.says("sent 1 blobs");
    cooper
        .build(&context, &["--cache-from=type=s3,bucket=caches"])
        .exits(1)
        .says("AWS_REGION");
    cooper
        .build(&context, &["--cache-from=type=s3,region=r"])
        .exits(1)
        .says("bucket=NAME");
}
