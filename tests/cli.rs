//! The command line without a Kafka: exact outputs, exit codes, the manual, and the README's commands.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::TcpListener;

use clap::{CommandFactory, Parser};
use fireworks::cli::Cli;
use support::*;

/// Fails unless this is refused, with exit code 1 and exactly this on standard error.
fn refused(arguments: &str, stderr: &str) {
    let outcome = run(&arguments.split(' ').collect::<Vec<_>>());
    assert_eq!(outcome.stderr, stderr);
    assert_eq!(
        (outcome.status.code(), outcome.stdout.as_str()),
        (Some(1), "")
    );
}

/// The commands, and the commands of those.
fn commands(cli: &clap::Command) -> Vec<&clap::Command> {
    let mut all = Vec::new();
    for command in cli.get_subcommands() {
        all.push(command);
        all.extend(commands(command));
    }
    all
}

#[test]
fn help_of_every_command_is_a_manual() {
    let mut manual = String::new();
    let mut cli = Cli::command();
    cli.build();
    manual.push_str(&cli.render_help().to_string());
    for command in commands(&cli) {
        let name = command.get_bin_name().unwrap();
        let help = command.clone().term_width(100).render_long_help();
        manual.push_str(&format!("\n\n──── {name} ────\n{help}"));
    }
    insta::assert_snapshot!(manual);
}

#[test]
fn every_flag_has_its_environment_variable() {
    let cli = Cli::command();
    for command in commands(&cli) {
        for argument in command
            .get_arguments()
            .filter(|argument| !argument.is_positional())
        {
            let Some(flag) = argument
                .get_long()
                .map(str::to_owned)
                .or(argument.get_short().map(String::from))
            else {
                continue;
            };
            if flag == "help" {
                continue;
            }
            let variable = format!("FIREWORKS_{}", flag.to_uppercase().replace('-', "_"));
            let actual = argument.get_env().and_then(|name| name.to_str());
            assert_eq!(
                actual,
                Some(variable.as_str()),
                "{} --{flag}",
                command.get_name()
            );
        }
    }
}

#[test]
fn flags_come_from_the_environment_too() {
    let outcome = std::process::Command::new(env!("CARGO_BIN_EXE_fireworks"))
        .arg("generate")
        .env_clear()
        .env("FIREWORKS_DEVICES", "0")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(outcome.stderr).unwrap(),
        "error: invalid --devices 0: at least one device is needed\n"
    );
}

#[test]
fn bad_usage_exits_2_and_names_the_flag() {
    for (arguments, flag) in [
        ("generate --interval soon", "--interval"),
        ("generate --rows-per-batch 0", "--rows-per-batch"),
        (
            "generate --advance-millis-per-batch -1",
            "--advance-millis-per-batch",
        ),
        ("brownian --workers 0", "--workers"),
        ("dashboard --window never", "--window"),
        ("dashboard --refresh often", "--refresh"),
        ("nonsense", "nonsense"),
        ("demo --backfill", "--backfill"),
    ] {
        let outcome = run(&arguments.split(' ').collect::<Vec<_>>());
        assert_eq!(outcome.status.code(), Some(2), "{arguments}");
        assert!(
            outcome.stderr.contains(flag),
            "{arguments}: {}",
            outcome.stderr
        );
        assert_eq!(outcome.stdout, "");
    }
}

#[test]
fn what_was_typed_is_checked_before_the_first_connection() {
    refused(
        "generate --devices 0",
        "error: invalid --devices 0: at least one device is needed\n",
    );
    refused(
        "generate --devices missing.csv",
        "error: failed to read the device table `missing.csv`: No such file or directory (os error 2)\n\
         help: --devices takes a number of devices or the path of a CSV file\n",
    );
    refused(
        "generate --devices Cargo.toml",
        "error: failed to read the device table `Cargo.toml`: the header is `[package]`\n\
         help: it is CSV with the header device_id,drift,volatility and a line for each device, such as sensor-1,0,1\n",
    );
    refused(
        "generate --start-timestamp 253402300800000",
        "error: invalid --start-timestamp 253402300800000: outside the years 1970 to 9999\n\
         help: it is in milliseconds since 1970, for example 1700000000000\n",
    );
    refused(
        "brownian --input a --output a",
        "error: invalid --output a: it is the input\n",
    );
    refused(
        "brownian --commit-interval 1m",
        "error: invalid --commit-interval 1m: it is at most 5s\n",
    );
    refused(
        "generate --bootstrap-servers ,",
        "error: invalid --bootstrap-servers `,`: an address is empty\n",
    );
    refused(
        "generate -X linger",
        "error: invalid -X `linger`: there is no `=` in it\n\
         help: write it as -X name=value, for example -X security.protocol=SASL_SSL\n",
    );
    refused(
        "completions bash --log-level inof",
        "error: invalid --log-level `inof`: `inof` is no level\n\
         help: write a level, such as warn, or levels by module, such as info,librdkafka=debug\n",
    );
    refused(
        "generate -X isolation.level=read_uncommitted",
        "error: -X isolation.level can't be set: exactly-once needs read_committed\n",
    );
}

#[test]
fn properties_that_the_client_does_not_know_are_refused() {
    for property in ["no.such.property=1", "linger.ms=soon"] {
        let outcome = run(&["generate", "-X", property]);
        assert_eq!(outcome.status.code(), Some(1));
        assert!(
            outcome.stderr.contains(property.split('=').next().unwrap()),
            "{}",
            outcome.stderr
        );
    }
}

#[cfg(not(feature = "tls"))]
#[test]
fn tls_that_was_not_built_in_says_how_to_get_it() {
    refused(
        "generate -X security.protocol=SASL_SSL",
        "error: -X security.protocol=SASL_SSL: this fireworks was built without TLS and SASL\n\
         help: build it with them: make install, or cargo build --release --features tls\n",
    );
}

#[cfg(feature = "tls")]
#[test]
fn tls_that_was_built_in_is_used() {
    let outcome = run(&[
        "generate",
        "--bootstrap-servers",
        "127.0.0.1:1",
        "-X",
        "security.protocol=SASL_SSL",
        "-X",
        "sasl.mechanisms=SCRAM-SHA-512",
        "-X",
        "sasl.username=a",
        "-X",
        "sasl.password=b",
    ]);
    assert!(
        outcome
            .stderr
            .starts_with("error: failed to reach Kafka at `127.0.0.1:1`"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_broker_that_can_not_be_reached_is_an_error_with_the_remedy() {
    for command in ["generate", "brownian"] {
        let outcome = run(&[command, "--bootstrap-servers", "127.0.0.1:1"]);
        assert_eq!(outcome.status.code(), Some(1));
        assert!(
            outcome
                .stderr
                .starts_with("error: failed to reach Kafka at `127.0.0.1:1`: "),
            "{}",
            outcome.stderr
        );
        assert!(outcome.stderr.ends_with("\nhelp: give its address with --bootstrap-servers, or start one here: fireworks broker\n"), "{}", outcome.stderr);
    }
}

#[test]
fn a_taken_port_is_an_error_that_names_the_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (arguments, flag) in [
        (vec!["broker", "--listen", &address], "--listen"),
        (vec!["dashboard", "--listen", &address], "--listen"),
        (
            vec![
                "demo",
                "--listen",
                &address,
                "--kafka-listen",
                "127.0.0.1:0",
            ],
            "--listen",
        ),
        (
            vec![
                "demo",
                "--listen",
                "127.0.0.1:0",
                "--kafka-listen",
                &address,
            ],
            "--kafka-listen",
        ),
    ] {
        let outcome = run(&arguments);
        assert_eq!(outcome.status.code(), Some(1), "{arguments:?}");
        assert!(outcome.stderr.contains(&address), "{}", outcome.stderr);
        let help = outcome
            .stderr
            .lines()
            .find(|line| line.starts_with("help: "))
            .unwrap_or_default();
        assert!(help.contains(flag), "{arguments:?}: {}", outcome.stderr);
        assert_eq!(outcome.stdout, "");
    }
}

/// A broker process with a `generate` that always has a transaction open there.
fn broker_and_generate() -> (Process, Process) {
    let (broker, address) = broker_process(&["--listen", "127.0.0.1:0"]);
    let generate = start(&[
        "generate",
        "--bootstrap-servers",
        &address,
        "--interval",
        "0s",
    ]);
    wait_for("the source to start", || {
        generate
            .stderr()
            .contains("starting an empty topic")
            .then_some(())
    });
    (broker, generate)
}

#[test]
fn a_signal_while_the_broker_does_not_answer_ends_it_all_the_same() {
    let (broker, generate) = broker_and_generate();
    broker.signal(Signal::STOP);
    generate.signal(Signal::TERM);
    let outcome = generate.wait();
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    broker.signal(Signal::CONT);
    broker.signal(Signal::TERM);
    assert_eq!(broker.wait().status.code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once_with_130() {
    let (broker, generate) = broker_and_generate();
    broker.signal(Signal::STOP);
    generate.signal(Signal::INT);
    wait_for("the first signal", || {
        generate.stderr().contains("stopping").then_some(())
    });
    generate.signal(Signal::INT);
    assert_eq!(generate.wait().status.code(), Some(130));
    broker.signal(Signal::KILL);
}

#[test]
fn a_signal_before_a_broker_was_found_ends_it_at_once() {
    for command in ["generate", "brownian", "dashboard"] {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        silent.set_nonblocking(true).unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let process = start_with(
            &[command, "--bootstrap-servers", &address],
            &[("FIREWORKS_LISTEN", "127.0.0.1:0")],
        );
        let _connection = wait_for("its connection", || silent.accept().ok());
        process.signal(Signal::TERM);
        let outcome = process.wait();
        assert_eq!(
            outcome.status.code(),
            Some(0),
            "{command}: {}",
            outcome.stderr
        );
    }
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let outcome = run(&["completions", shell]);
        assert_eq!(
            (outcome.status.code(), outcome.stderr.as_str()),
            (Some(0), "")
        );
        assert!(outcome.stdout.contains("brownian"), "{shell}");
    }
}

#[test]
fn commands_of_the_readme_are_commands_of_the_binary() {
    let mut commands = 0;
    for line in readme_commands() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[0] {
            "fireworks" => {
                let words = words.iter().take_while(|word| **word != ">");
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{line}: {error}");
                }
                commands += 1;
            }
            "make" => {
                let makefile = std::fs::read_to_string("Makefile").unwrap();
                assert!(
                    makefile.contains(&format!("\n{}:", words[1])),
                    "{line}: there is no such target"
                );
                commands += 1;
            }
            "docker" => {
                let file = words.iter().position(|word| *word == "-f").unwrap() + 1;
                assert!(std::path::Path::new(words[file]).exists(), "{line}");
            }
            "kcat" | "printf" | "echo" | "cargo" | "sudo" | "curl" => {}
            other => panic!("{line}: `{other}` is not tested"),
        }
    }
    assert!(commands > 10, "the README has lost its commands");
}

fn readme_commands() -> Vec<String> {
    let readme = std::fs::read_to_string("README.md").unwrap();
    readme
        .lines()
        .filter_map(|line| line.strip_prefix("$ ").map(str::to_owned))
        .collect()
}
