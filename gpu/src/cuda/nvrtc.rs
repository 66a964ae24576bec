//! NVRTC, NVIDIA's compiler as a library: finding it, and machine code from CUDA C++.
//!
//! It is loaded here and not by `cudarc`, which panics where a library or a function is missing, and takes whichever
//! version the loader finds first.
use libloading::Library;
use std::env;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::OnceLock;

/// Names the folder that NVRTC is in, before all others.
const FOLDER: &str = "HEDDLE_NVRTC";
/// What it is called, the newest first.
const NAMES: [&str; 3] = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];
/// The only header that texts include; all of it that they use is built in.
const HEADER: (&CStr, &CStr) = (c"cuda_runtime.h", c"");

/// The compiler, open as long as the process.
pub(super) struct Nvrtc {
    /// Its version, as of the CUDA toolkit that it comes with.
    pub(super) version: (i32, i32),
    calls: Calls,
    _builtins: Option<Library>,
}

type Raw = *mut c_void;

/// Machine code, and what the assembler said of it.
pub(super) struct Compiled {
    pub(super) cubin: Vec<u8>,
    pub(super) log: String,
}

/// Declares functions of the library and how they are found in it.
macro_rules! calls {
    ($($name:ident = $symbol:literal ($($arg:ty),*),)*) => {
        struct Calls {
            $($name: unsafe extern "C" fn($($arg),*) -> c_int,)*
            error: unsafe extern "C" fn(c_int) -> *const c_char,
            /// What the functions are of.
            _library: Library,
        }

        impl Calls {
            fn of(library: Library) -> Result<Calls, libloading::Error> {
                // SAFETY: the types are those that NVRTC documents, the same in all of its versions; the functions
                // stay as long as the library, which lies beside them.
                unsafe {
                    Ok(Calls {
                        $($name: *library.get(concat!($symbol, "\0").as_bytes())?,)*
                        error: *library.get(b"nvrtcGetErrorString\0")?,
                        _library: library,
                    })
                }
            }
        }
    };
}

calls! {
    version = "nvrtcVersion" (*mut c_int, *mut c_int),
    count_targets = "nvrtcGetNumSupportedArchs" (*mut c_int),
    targets = "nvrtcGetSupportedArchs" (*mut c_int),
    create = "nvrtcCreateProgram"
        (*mut Raw, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char),
    compile = "nvrtcCompileProgram" (Raw, c_int, *const *const c_char),
    cubin_bytes = "nvrtcGetCUBINSize" (Raw, *mut usize),
    cubin = "nvrtcGetCUBIN" (Raw, *mut c_char),
    log_bytes = "nvrtcGetProgramLogSize" (Raw, *mut usize),
    log = "nvrtcGetProgramLog" (Raw, *mut c_char),
    destroy = "nvrtcDestroyProgram" (*mut Raw),
}

/// The compiler, or why there is none.
pub(super) fn nvrtc() -> Result<&'static Nvrtc, String> {
    static OPEN: OnceLock<Result<Nvrtc, String>> = OnceLock::new();
    OPEN.get_or_init(open).as_ref().map_err(String::clone)
}

fn open() -> Result<Nvrtc, String> {
    let folder = env::var_os(FOLDER).filter(|folder| !folder.is_empty());
    let places = match &folder {
        Some(folder) => NAMES.map(|name| Path::new(folder).join(name)).to_vec(),
        None => places(env::var_os("CUDA_HOME").or_else(|| env::var_os("CUDA_PATH")).map(PathBuf::from)),
    };
    let odd = |reason: String| format!("NVRTC was found and cannot be used: {reason}");
    // What is there and cannot be loaded is told only where no other can.
    let mut broken = None;
    let found = places.iter().find_map(|place| match load(place) {
        Ok(library) => Some((place, library)),
        Err(cause) => {
            broken = broken.take().or_else(|| reason(place, &cause.to_string()));
            None
        }
    });
    let (place, library) =
        found.ok_or_else(|| broken.map_or_else(|| missing(folder.as_deref().map(Path::new)), odd))?;
    let calls = Calls::of(library).map_err(|e| odd(e.to_string()))?;
    let mut version = (0, 0);
    // SAFETY: both are there to be written.
    let status = unsafe { (calls.version)(&mut version.0, &mut version.1) };
    if status != 0 {
        return Err(odd(format!("it does not tell its version (status {status})")));
    }
    // It asks the loader for this by its name alone, which finds what is loaded already.
    let builtins = place.with_file_name(format!("libnvrtc-builtins.so.{}.{}", version.0, version.1));
    Ok(Nvrtc { version, calls, _builtins: load(&builtins).ok() })
}

/// Where it may be: wherever the loader looks (LD_LIBRARY_PATH and the system's folders), then in a toolkit.
fn places(toolkit: Option<PathBuf>) -> Vec<PathBuf> {
    let roots = toolkit.into_iter().chain(["/usr/local/cuda".into()]);
    let folders = roots.flat_map(|root| [root.join("lib64"), root.join("lib")]);
    let folders: Vec<PathBuf> = std::iter::once(PathBuf::new()).chain(folders).collect();
    folders.iter().flat_map(|folder| NAMES.map(|name| folder.join(name))).collect()
}

fn load(place: &Path) -> Result<Library, libloading::Error> {
    // SAFETY: NVIDIA's library does nothing on being loaded but set itself up; it is never unloaded.
    unsafe { Library::new(place) }
}

/// Why a library that is there cannot be loaded, in the loader's words; none where there is none.
fn reason(place: &Path, said: &str) -> Option<String> {
    // Of what it lacks itself, a library that it needs among it, it begins with that.
    let is_missing =
        said.starts_with(&format!("{}: cannot open shared object file: No such file", place.display()));
    (!is_missing).then(|| said.to_owned())
}

fn missing(folder: Option<&Path>) -> String {
    let place = match folder {
        Some(folder) => {
            format!("{FOLDER} names {}, which has no {} that can be loaded", folder.display(), NAMES[0])
        }
        None => format!("no {} was found", NAMES[0]),
    };
    format!(
        "NVRTC is missing, which compiles kernels: {place}; the CUDA toolkit brings it, and so does pip's package \
         nvidia-cuda-nvrtc, whose folder of libraries LD_LIBRARY_PATH or {FOLDER} must name"
    )
}

impl Nvrtc {
    /// The architectures that it makes code for, as numbers like 90.
    pub(super) fn targets(&self) -> Result<Vec<i32>, String> {
        let mut count = 0;
        // SAFETY: the number is there to be written.
        self.check(unsafe { (self.calls.count_targets)(&mut count) })?;
        let mut targets = vec![0; count.max(0) as usize];
        // SAFETY: there is room for as many as it said.
        self.check(unsafe { (self.calls.targets)(targets.as_mut_ptr()) })?;
        Ok(targets)
    }

    /// Machine code for an architecture, as in `sm_90a`.
    pub(super) fn compile(&self, text: &str, target: &str) -> Result<Compiled, String> {
        let text = CString::new(text).map_err(|e| e.to_string())?;
        let target = CString::new(format!("--gpu-architecture={target}")).map_err(|e| e.to_string())?;
        // Products and sums are fused where a kernel says so: else versions of one kernel could round otherwise.
        let options = [target.as_ptr(), c"--fmad=false".as_ptr(), c"--ptxas-options=-v".as_ptr()];
        let mut program = Made { calls: &self.calls, raw: ptr::null_mut() };
        let (name, header) = HEADER;
        // SAFETY: all texts end with a zero and outlive the program.
        self.check(unsafe {
            (self.calls.create)(
                &mut program.raw,
                text.as_ptr(),
                c"kernel.cu".as_ptr(),
                1,
                &header.as_ptr(),
                &name.as_ptr(),
            )
        })?;
        // SAFETY: the program was made above, and there are as many options as is said.
        let status = unsafe { (self.calls.compile)(program.raw, options.len() as c_int, options.as_ptr()) };
        let calls = &self.calls;
        let log = self.text(program.raw, calls.log_bytes, calls.log)?;
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
        let log = String::from_utf8_lossy(&log[..end]).trim().to_owned();
        self.check(status).map_err(|reason| match log.is_empty() {
            true => reason,
            false => format!("{reason}: {}", errors(&log)),
        })?;
        let cubin = self.text(program.raw, calls.cubin_bytes, calls.cubin)?;
        match cubin.is_empty() {
            true => Err("NVRTC made no machine code".into()),
            false => Ok(Compiled { cubin, log }),
        }
    }

    /// What two functions give of a program: one its length, the other its bytes.
    fn text(
        &self,
        program: Raw,
        length: unsafe extern "C" fn(Raw, *mut usize) -> c_int,
        copy: unsafe extern "C" fn(Raw, *mut c_char) -> c_int,
    ) -> Result<Vec<u8>, String> {
        let mut bytes = 0;
        // SAFETY: the program lives, and the number is there to be written.
        self.check(unsafe { length(program, &mut bytes) })?;
        let mut text = vec![0u8; bytes];
        if bytes > 0 {
            // SAFETY: there is room for as many bytes as it said.
            self.check(unsafe { copy(program, text.as_mut_ptr().cast()) })?;
        }
        Ok(text)
    }

    fn check(&self, status: c_int) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: it gives a text for any number, which stays.
        let said = unsafe { (self.calls.error)(status) };
        let said = match said.is_null() {
            true => status.to_string().into(),
            // SAFETY: it is not null, and ends with a zero.
            false => unsafe { CStr::from_ptr(said) }.to_string_lossy(),
        };
        Err(format!("NVRTC {}.{}: {said}", self.version.0, self.version.1))
    }
}

/// The lines of a log that say what is wrong, a few of them, as one.
fn errors(log: &str) -> String {
    let wrong: Vec<&str> = log.lines().filter(|line| line.contains("error")).take(3).collect();
    match wrong.is_empty() {
        true => log.lines().take(3).collect::<Vec<_>>().join("; "),
        false => wrong.join("; "),
    }
}

/// A program that ends with its scope.
struct Made<'a> {
    calls: &'a Calls,
    raw: Raw,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: it was made, and nobody uses it any more.
            unsafe { (self.calls.destroy)(&mut self.raw) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_there_and_cannot_be_loaded_is_told_with_the_cause() {
        let place = Path::new("libnvrtc.so.13");
        let missing = "libnvrtc.so.13: cannot open shared object file: No such file or directory";
        assert_eq!(reason(place, missing), None);
        for cause in
            ["libnvrtc.so.13: file too short", "libc.so.7: cannot open shared object file: No such file"]
        {
            assert_eq!(reason(place, cause).as_deref(), Some(cause));
        }
    }
}
