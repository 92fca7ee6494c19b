//! Our side of `onnx.sh`: loads one ONNX file, takes commands on standard input, times one thing a command.
//!
//!     onnx_worker FILE int8|float
//!
//! After loading it prints one line, `ready WALL CPU INPUT`: nanoseconds that loading took on the wall clock and of
//! the processor, and the bytes of one input. Then:
//!
//! | command | answer |
//! |---|---|
//! | `run`, and the bytes of one input (f32, little-endian) | a line `WALL CPU BYTES...`: nanoseconds, and the length of each output; then the outputs, f32, little-endian |
//! | `time N` | a line of N pairs `WALL CPU` in nanoseconds, each of one inference of the last input |
//!
//! Only the plan's run is timed; one thread, so that processor time is what it takes on an idle machine. Without arguments it ends at once, so `cargo bench` passes by.

#![expect(clippy::expect_used, reason = "a measurement that cannot be set up has nothing to report")]
#![expect(unsafe_code, reason = "the standard library does not tell processor time")]

use std::env;
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::time::Instant;

use nformer_edge::int8;
use tract_onnx::prelude::{
    Framework, InferenceModelExt, IntoRunnable, TValue, Tensor, TractResult, TypedRunnableModel, tvec,
};

/// How the file is run.
#[derive(Clone, Copy)]
enum Mode {
    /// Quantised patterns as integer operators.
    Int8,
    /// As `tract` runs it.
    Float,
}

fn main() {
    let mut words = env::args().skip(1).filter(|word| !word.starts_with("--"));
    let (Some(path), Some(mode)) = (words.next().map(PathBuf::from), words.next()) else { return };
    let mode = match mode.as_str() {
        "int8" => Mode::Int8,
        "float" => Mode::Float,
        other => panic!("mode is `int8` or `float`, not `{other}`"),
    };
    let clocks = Clocks::start();
    let plan = plan(&path, mode).unwrap_or_else(|error| {
        eprintln!("{error:#}");
        process::exit(1)
    });
    let taken = clocks.taken();
    let shape = input_shape(&plan);
    let bytes = shape.iter().product::<usize>() * size_of::<f32>();
    println!("ready {taken} {bytes}");
    serve(&plan, &shape, bytes);
}

/// The file as it will run.
fn plan(path: &Path, mode: Mode) -> TractResult<Arc<TypedRunnableModel>> {
    let mut model = match mode {
        Mode::Int8 => int8::rewrite(int8::onnx().model_for_path(path)?.into_typed()?)?.0,
        Mode::Float => tract_onnx::onnx().with_ignore_value_info(true).model_for_path(path)?.into_typed()?,
    };
    model.declutter()?;
    model.optimize()?;
    model.into_runnable()
}

fn input_shape(plan: &TypedRunnableModel) -> Vec<usize> {
    let fact = plan.model().input_fact(0).expect("an input");
    fact.shape.as_concrete().expect("an input of fixed size").to_vec()
}

fn serve(plan: &Arc<TypedRunnableModel>, shape: &[usize], bytes: usize) {
    let mut input = io::stdin().lock();
    let mut frame = vec![0; bytes];
    let mut tensor: Option<Tensor> = None;
    let mut line = String::new();
    while input.read_line(&mut line).expect("a line of text") > 0 {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut out = io::stdout().lock();
        match (words.as_slice(), &tensor) {
            (["run"], _) => {
                input.read_exact(&mut frame).expect("one input");
                let (numbers, _) = frame.as_chunks::<4>();
                let numbers: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
                let held = tensor.insert(Tensor::from_shape(shape, &numbers).expect("a tensor"));
                let (taken, outputs) = infer(plan, held);
                let outputs: Vec<Vec<u8>> = outputs.iter().map(little_endian).collect();
                let lengths: Vec<String> = outputs.iter().map(|output| output.len().to_string()).collect();
                writeln!(out, "{taken} {}", lengths.join(" ")).expect("a reader");
                out.write_all(&outputs.concat()).expect("a reader");
            }
            (["time", count], Some(tensor)) => {
                let count: usize = count.parse().expect("a number");
                let times: Vec<String> = (0..count).map(|_| infer(plan, tensor).0).collect();
                writeln!(out, "{}", times.join(" ")).expect("a reader");
            }
            _ => panic!("cannot do `{}`", line.trim()),
        }
        out.flush().expect("a reader");
        line.clear();
    }
}

/// One inference: times and outputs. The copy of the input is not timed.
fn infer(plan: &Arc<TypedRunnableModel>, input: &Tensor) -> (String, Vec<TValue>) {
    let input = tvec!(TValue::from(input.clone()));
    let clocks = Clocks::start();
    let outputs = plan.run(input).expect("a result");
    (clocks.taken(), outputs.into_iter().collect())
}

fn little_endian(value: &TValue) -> Vec<u8> {
    let value = value.cast_to::<f32>().expect("numbers");
    let numbers = value.try_as_plain_ram().expect("numbers in memory").as_slice::<f32>().expect("numbers");
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The wall clock and the processor time of this thread.
struct Clocks {
    wall: Instant,
    busy: i64,
}

impl Clocks {
    fn start() -> Self {
        Self { wall: Instant::now(), busy: busy_nanos() }
    }

    /// `WALL CPU` since the start, in nanoseconds.
    fn taken(&self) -> String {
        let (busy, wall) = (busy_nanos() - self.busy, self.wall.elapsed().as_nanos());
        format!("{wall} {busy}")
    }
}

fn busy_nanos() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live `timespec`, which the call fills and does not keep.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "the system tells no processor time");
    #[allow(clippy::unnecessary_cast, reason = "both are 32 bits wide on some boards")]
    let nanos = time.tv_sec as i64 * 1_000_000_000 + time.tv_nsec as i64;
    nanos
}
