//! Signals by name and by number.

use crate::error::{Error, Result};

/// Names without `SIG` (signal(7), x86 and arm numbers as libc has them for the target).
static NAMES: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGIOT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// The highest signal number of the kernel (_NSIG).
const HIGHEST: i32 = 64;

/// Reads `9`, `KILL`, `SIGKILL`, `kill`, `RTMIN+3` or `SIGRTMAX-1`; 0 asks only whether the process is there.
///
/// # Errors
/// [`Error::Config`] for what is no signal.
pub fn parse(text: &str) -> Result<i32> {
    let unknown = || Error::config("signal", format!("{text:?} is none; give a number up to {HIGHEST} or a name such as TERM"));
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().filter(|n| (0..=HIGHEST).contains(n)).ok_or_else(unknown);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    real_time(name).ok_or_else(unknown)
}

/// `RTMIN+n` and `RTMAX-n`, counted as libc does, which keeps the first two for itself.
fn real_time(name: &str) -> Option<i32> {
    let (first, last) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    let distance = |rest: &str, sign: char| match rest {
        "" => Some(0),
        _ => rest.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from),
    };
    let number = match name.split_at_checked(5)? {
        ("RTMIN", rest) => first + distance(rest, '+')?,
        ("RTMAX", rest) => last - distance(rest, '-')?,
        _ => return None,
    };
    (first..=last).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for text in ["9", "KILL", "SIGKILL", "kill", "sigkill", "SigKill"] {
            assert_eq!(parse(text), Ok(9), "{text}");
        }
        assert_eq!((parse("0"), parse("64"), parse("WINCH")), (Ok(0), Ok(64), Ok(28)));
        assert_eq!((parse("RTMIN"), parse("SIGRTMIN+3"), parse("rtmax"), parse("RTMAX-14")), (Ok(34), Ok(37), Ok(64), Ok(50)));
    }

    #[test]
    fn what_is_no_signal_is_refused_by_name() {
        for text in [
            "",
            "-9",
            "65",
            "99999999999",
            "TERMINATE",
            "SIG",
            "SIGSIGTERM",
            "RTMIN+31",
            "RTMIN-1",
            "RTMAX-31",
            "RTMIN+",
            "\u{e9}",
        ] {
            assert!(parse(text).unwrap_err().to_string().starts_with(&format!("signal: {text:?} is none")), "{text}");
        }
    }
}
