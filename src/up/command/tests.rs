//! Commands with real children: output, deadlines, and process groups.

use super::*;
use std::time::Instant;

fn shell(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

#[test]
fn command_displays_as_a_shell_reads_it() {
    let command = Command::new("helm")
        .env("HELM_DEBUG", "a b")
        .args(["upgrade", "it's", "", "-f", "-"])
        .stdin("a: $HOME\nEOF\nb: 1");
    assert_eq!(
        command.to_string(),
        "HELM_DEBUG='a b' helm upgrade 'it'\\''s' '' -f - <<'EOF_'\na: $HOME\nEOF\nb: 1\nEOF_"
    );
}

#[tokio::test]
async fn displayed_command_does_in_a_shell_what_the_command_does() {
    let command = Command::new("cat")
        .arg("-")
        .stdin("it's $HOME `ls` \\ \"x\"\n");
    let system = System::unstoppable();
    let direct = system.succeed(&command).await.unwrap();
    let by_shell = system.succeed(&shell(&command.to_string())).await.unwrap();
    assert_eq!(direct, by_shell);
    assert_eq!(direct.text(), "it's $HOME `ls` \\ \"x\"\n");
}

#[tokio::test]
async fn failed_command_is_told_with_its_arguments_and_last_lines_once() {
    let command = shell("echo one; echo two >&2; exit 3");
    let error = System::unstoppable().succeed(&command).await.unwrap_err();
    assert_eq!(
        crate::error::report(&error),
        "error: `sh -c 'echo one; echo two >&2; exit 3'` exited with 3\n  two"
    );
}

#[tokio::test]
async fn missing_program_is_named() {
    let error = System::unstoppable()
        .run(&Command::new("no-such-program"))
        .await
        .unwrap_err();
    assert!(error.is::<Missing>());
}

#[tokio::test]
async fn megabytes_on_every_pipe_at_once_do_not_hang() {
    let megabytes = vec![b'x'; 4 << 20];
    let command = shell("cat; head -c 4194304 /dev/zero >&2").stdin(megabytes.clone());
    let output = System::unstoppable().succeed(&command).await.unwrap();
    assert_eq!(
        (output.stdout.len(), output.stderr.len()),
        (4 << 20, 4 << 20)
    );
}

#[tokio::test]
async fn input_that_nobody_reads_is_no_failure() {
    let command = shell("exec <&-; exit 0").stdin(vec![b'x'; 1 << 20]);
    assert!(
        System::unstoppable()
            .run(&command)
            .await
            .unwrap()
            .is_success()
    );
}

/// A script that a group would have to be killed for, and the file that it writes if it is not.
fn stubborn(directory: &tempfile::TempDir) -> (Command, PathBuf) {
    let file = directory.path().join("survived");
    let script = format!("(sleep 2; touch {}) & wait", file.display());
    (shell(&script), file)
}

#[tokio::test]
async fn command_that_takes_too_long_is_ended_with_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let (command, file) = stubborn(&directory);
    let command = command.within(Duration::from_millis(200));
    let error = System::unstoppable().run(&command).await.unwrap_err();
    assert!(error.is::<Overdue>(), "{error}");
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(!file.exists());
}

#[tokio::test]
async fn stop_ends_a_running_command_with_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let (command, file) = stubborn(&directory);
    let (trigger, shutdown) = Shutdown::manual();
    let system = System::new(shutdown);
    let running = tokio::spawn(async move { system.run(&command).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    trigger.request();
    assert!(running.await.unwrap().unwrap_err().is::<Stopped>());
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(!file.exists());
}

#[tokio::test]
async fn grandchild_that_holds_the_pipes_does_not_hold_us() {
    let began = Instant::now();
    let output = System::unstoppable()
        .run(&shell("echo done; sleep 30 &"))
        .await
        .unwrap();
    assert_eq!(output.text(), "done\n");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn lines_are_heard_while_the_command_runs() {
    let heard = std::sync::Mutex::new(Vec::new());
    let command = shell("printf 'a\\rb\\n\\n c \\n' >&2");
    System::unstoppable()
        .run_heard(&command, &|line| {
            heard.lock().unwrap().push(line.to_owned())
        })
        .await
        .unwrap();
    assert_eq!(*heard.lock().unwrap(), ["a", "b", "c"]);
}

#[tokio::test]
async fn output_file_is_for_the_user_alone_and_only_written_by_success() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kubeconfig");
    let system = System::unstoppable();
    system
        .run(&shell("echo a; exit 1").stdout(&file))
        .await
        .unwrap();
    assert!(!file.exists());
    system.run(&shell("echo a").stdout(&file)).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"a\n");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
}
