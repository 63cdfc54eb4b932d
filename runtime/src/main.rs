//! The rrun command.

fn main() {
    std::process::exit(rrun::cli::main(std::env::args_os().skip(1)));
}
