//! `leakcheck save FILE` looks at the machine; `leakcheck compare FILE` looks again, lists what has come since and stays, and exits with 1
//! if there is anything.

use std::process::ExitCode;

use rrun_tests::host::tag;
use rrun_tests::leaks::{Snapshot, lasting};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["save", file] => {
            std::fs::write(file, Snapshot::take().to_text()).map(|()| Vec::new()).map_err(|e| format!("{file}: {e}"))
        }
        ["compare", file] => std::fs::read_to_string(file)
            .map(|text| lasting(&Snapshot::from_text(&text), &tag()))
            .map_err(|e| format!("{file}: {e}")),
        _ => Err("usage: leakcheck save|compare FILE".to_owned()),
    };
    match result {
        Ok(leaks) if leaks.is_empty() => ExitCode::SUCCESS,
        Ok(leaks) => {
            leaks.iter().for_each(|item| println!("left behind: {item}"));
            ExitCode::FAILURE
        }
        Err(message) => {
            eprintln!("leakcheck: {message}");
            ExitCode::from(2)
        }
    }
}
