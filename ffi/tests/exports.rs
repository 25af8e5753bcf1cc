//! The library as an ELF file: what it exports, what it needs, how it uses thread-local storage, and that the exported
//! functions are the allocator's fast paths and not ways to them.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Everything the library exports, by purpose.
const EXPORTS: &[&[&str]] = &[
    // C
    &["malloc", "calloc", "realloc", "free", "posix_memalign", "aligned_alloc", "memalign", "valloc", "pvalloc"],
    &["reallocarray", "malloc_usable_size", "cfree", "free_sized", "free_aligned_sized"],
    &["malloc_trim", "mallopt", "mallinfo", "mallinfo2", "malloc_info", "malloc_stats"],
    // The names inside glibc
    &["__libc_malloc", "__libc_calloc", "__libc_realloc", "__libc_reallocarray", "__libc_free", "__libc_memalign"],
    &["__libc_valloc", "__libc_pvalloc", "__posix_memalign", "__libc_mallopt", "__libc_mallinfo"],
    NEW,
    // operator delete
    &["_ZdlPv", "_ZdlPvm", "_ZdlPvRKSt9nothrow_t", "_ZdlPvmRKSt9nothrow_t", "_ZdlPvSt11align_val_t"],
    &["_ZdlPvmSt11align_val_t", "_ZdlPvSt11align_val_tRKSt9nothrow_t", "_ZdlPvmSt11align_val_tRKSt9nothrow_t"],
    &["_ZdaPv", "_ZdaPvm", "_ZdaPvRKSt9nothrow_t", "_ZdaPvmRKSt9nothrow_t", "_ZdaPvSt11align_val_t"],
    &["_ZdaPvmSt11align_val_t", "_ZdaPvSt11align_val_tRKSt9nothrow_t", "_ZdaPvmSt11align_val_tRKSt9nothrow_t"],
    // Extensions
    &["fairground_version", "fairground_get_totals", "fairground_profile_write", "fairground_stats_print"],
    // Typed caches
    &["fairground_cache_create", "fairground_cache_alloc", "fairground_cache_free", "fairground_cache_shrink"],
    &["fairground_cache_destroy", "fairground_cache_get_stats"],
];

const NEW: &[&str] = &[
    "_Znwm",
    "_Znam",
    "_ZnwmRKSt9nothrow_t",
    "_ZnamRKSt9nothrow_t",
    "_ZnwmSt11align_val_t",
    "_ZnamSt11align_val_t",
    "_ZnwmSt11align_val_tRKSt9nothrow_t",
    "_ZnamSt11align_val_tRKSt9nothrow_t",
];

/// The references that may stay open: the C++ runtime's (`cxx_slow`), the program's configuration, and those of the
/// compiler's start files.
const WEAK: &[&str] = &[
    "fairground_conf",
    "_ZSt15get_new_handlerv",
    "_ZSt17__throw_bad_allocv",
    "__cxa_begin_catch",
    "__cxa_end_catch",
    "__gxx_personality_v0",
    "__cxa_finalize",
    "__gmon_start__",
    "_ITM_deregisterTMCloneTable",
    "_ITM_registerTMCloneTable",
];

/// The routines of `cxx_slow` to which operator new jumps.
const SLOW: &[&str] = &["fairground_throwing_slow", "fairground_nothrow_slow", "fairground_bad_alignment"];

/// What a program of the binutils says of the library; of those for its processor, if they have a prefix.
fn tool(name: &str, arguments: &[&str]) -> String {
    let name = std::env::var("FAIRGROUND_BINUTILS").unwrap_or_default() + name;
    support::successful(Command::new(name).args(arguments).arg(support::library()))
}

/// The processor the library is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Processor {
    X86_64,
    Aarch64,
}

fn processor() -> Processor {
    let header = tool("readelf", &["-hW"]);
    let machine = header.lines().find(|line| line.contains("Machine:")).expect("a machine");
    if machine.contains("AArch64") {
        Processor::Aarch64
    } else {
        assert!(machine.contains("X86-64"), "{machine}");
        Processor::X86_64
    }
}

#[test]
fn exactly_the_allocation_functions_are_exported() {
    let expected: BTreeSet<_> = EXPORTS.iter().copied().flatten().map(|name| name.to_string()).collect();
    let mut exported = BTreeSet::new();
    for line in tool("nm", &["-D", "--defined-only"]).lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        assert_eq!(fields[1], "T", "not a function, or weak: {line}");
        exported.insert(fields[2].to_string());
    }
    let missing: Vec<_> = expected.difference(&exported).collect();
    let surplus: Vec<_> = exported.difference(&expected).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing: {missing:?}, surplus: {surplus:?}");
}

#[test]
fn all_needs_come_from_libc() {
    let dynamic = tool("readelf", &["-dW"]);
    let values = |tag: &str| -> Vec<&str> {
        let lines = dynamic.lines().filter(|line| line.contains(&format!("({tag})")));
        lines.filter_map(|line| line.split(['[', ']']).nth(1)).collect()
    };
    // The loader itself, if the TLS or auxv functions it holds are used; it is in every process.
    let needed: Vec<_> = values("NEEDED").into_iter().filter(|name| !name.starts_with("ld-linux")).collect();
    assert_eq!(needed, ["libc.so.6"]);
    assert_eq!(values("SONAME"), ["libfairground.so.0"]);

    let mut weak = BTreeSet::new();
    for line in tool("nm", &["-D", "--undefined-only"]).lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        let name = fields[1].split('@').next().expect("a name");
        match fields[0] {
            "U" => assert!(fields[1].contains("@GLIBC_"), "not from glibc: {line}"),
            _ => _ = weak.insert(name.to_string()),
        }
    }
    let surplus: Vec<_> = weak.iter().filter(|name| !WEAK.contains(&name.as_str())).collect();
    assert!(surplus.is_empty(), "unexpected weak references: {surplus:?}");
}

#[test]
fn bound_at_load_and_without_executable_data() {
    let dynamic = tool("readelf", &["-dW"]);
    assert!(dynamic.contains("BIND_NOW") && dynamic.contains("NOW"), "lazy binding:\n{dynamic}");
    assert!(!dynamic.contains("TEXTREL"), "relocations in the code:\n{dynamic}");
    assert!(dynamic.contains("SYMBOLIC"), "not -Bsymbolic:\n{dynamic}");
    let segments = tool("readelf", &["-lW"]);
    let stack = segments.lines().find(|line| line.contains("GNU_STACK")).expect("a GNU_STACK segment");
    assert!(stack.contains(" RW ") && !stack.contains('E'), "executable stack: {stack}");
    assert!(segments.contains("GNU_RELRO"), "no RELRO:\n{segments}");
    for line in segments.lines().filter(|line| line.contains(" LOAD ")) {
        assert!(!line.contains("RWE"), "writable and executable: {line}");
    }
}

#[test]
fn thread_local_storage_is_initial_exec() {
    assert!(!tool("nm", &["-D"]).contains("__tls_get_addr"));
    for line in tool("readelf", &["-rW"]).lines() {
        for model in ["DTPMOD", "DTPOFF", "DTPREL", "TLSDESC", "TLSGD", "TLSLD"] {
            assert!(!line.contains(model), "thread-local storage that may allocate: {line}");
        }
        if line.contains("TPOFF") || line.contains("TPREL") {
            assert!(
                line.contains("R_X86_64_TPOFF64") || line.contains("R_AARCH64_TLS_TPREL"),
                "unknown kind of thread-local storage: {line}"
            );
        }
    }
    for line in tool("readelf", &["-lW"]).lines().filter(|line| line.trim_start().starts_with("TLS ")) {
        let size = line
            .split_whitespace()
            .nth(5)
            .and_then(|size| usize::from_str_radix(size.trim_start_matches("0x"), 16).ok());
        assert_eq!(size, Some(size_of::<usize>()), "thread-local storage is one pointer: {line}");
    }
}

/// An instruction of the disassembly.
struct Instruction {
    /// Mnemonic and operands, without the comment.
    text: String,
    /// The address in the operand or in the comment, if any.
    target: Option<u64>,
}

/// The functions of the library by address.
fn disassemble() -> BTreeMap<u64, Vec<Instruction>> {
    let mut functions: BTreeMap<u64, Vec<Instruction>> = BTreeMap::new();
    let mut current = 0;
    let comment_sign = if processor() == Processor::Aarch64 { "//" } else { "#" };
    for line in tool("objdump", &["-d", "--no-show-raw-insn", "--section=.text", "--section=.text.rare"]).lines() {
        if let Some((address, _)) = line.strip_suffix(">:").and_then(|line| line.split_once(" <")) {
            current = u64::from_str_radix(address, 16).expect("an address");
        } else if let Some((_, instruction)) = line.split_once(":\t") {
            let instruction = instruction.replace('\t', " ");
            let (text, comment) = instruction.split_once(comment_sign).unwrap_or((&instruction, ""));
            // 'jmp 3340 <name>', or 'jmp *0x2460(%rip)  # 6ca8 <...>'
            let place = if comment.is_empty() { text } else { comment };
            let word = place.split_once(" <").and_then(|(before, _)| before.split_whitespace().last());
            let target = word.and_then(|word| u64::from_str_radix(word, 16).ok());
            functions.entry(current).or_default().push(Instruction { text: text.trim().into(), target });
        }
    }
    assert!(functions.len() > 20, "objdump shows {} functions", functions.len());
    functions
}

/// Addresses of symbols, local ones included.
fn addresses(names: impl Fn(&str) -> bool) -> BTreeMap<String, u64> {
    let table = tool("nm", &["--defined-only"]);
    let symbols = table.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let address = u64::from_str_radix(fields.first()?, 16).ok()?;
        names(fields.get(2)?).then(|| (fields[2].to_string(), address))
    });
    symbols.collect()
}

/// Leaves the function for good, or calls another.
fn transfers(text: &str) -> bool {
    ["call", "j", "bl", "b ", "b.", "cb", "tb"].iter().any(|start| text.starts_with(start))
}

/// An exported function that only jumped to another would cost every call a jump; one that called another by its name
/// could be turned by LLVM into something else, and would reach another library that is preloaded before ours.
#[test]
fn exported_functions_are_bodies_and_not_called_from_inside() {
    let exported = addresses(|name| EXPORTS.iter().copied().flatten().any(|export| *export == name));
    let by_address: BTreeMap<_, _> = exported.iter().map(|(name, address)| (*address, name)).collect();
    for (function, instructions) in disassemble() {
        for instruction in instructions.iter().filter(|instruction| transfers(&instruction.text)) {
            let Some(target) = instruction.target.filter(|target| *target != function) else { continue };
            assert!(
                !by_address.contains_key(&target),
                "{:#x} ({:?}) goes to {}: {}",
                function,
                by_address.get(&function),
                by_address[&target],
                instruction.text
            );
        }
    }
}

/// Calls another function and comes back.
fn calls(text: &str) -> bool {
    ["call", "bl ", "blr "].iter().any(|start| text.starts_with(start))
}

/// Slots of the global offset table that hold one of these addresses.
fn slots(of: &BTreeSet<u64>) -> BTreeSet<u64> {
    let number = |word: &str| u64::from_str_radix(word, 16).ok();
    let relocations = tool("readelf", &["-rW"]);
    let relative = relocations.lines().filter(|line| line.contains("_RELATIVE"));
    let holders = relative.filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        of.contains(&number(words.last()?)?).then(|| number(words[0]))?
    });
    holders.collect()
}

/// The address that an aarch64 instruction loads from, if the page was loaded into the register before: `adrp x9, 2f000 <..>`,
/// `ldr x9, [x9, #4032]`.
fn loaded_from(body: &[Instruction], text: &str) -> Option<u64> {
    let (base, offset) = text.strip_prefix("ldr ")?.split_once('[')?.1.split_once(", #")?;
    let offset: u64 = offset.strip_suffix(']')?.parse().ok()?;
    let page = body.iter().find(|instruction| instruction.text.starts_with(&format!("adrp {base},")))?;
    Some(page.target? + offset)
}

/// Why: see `cxx.rs`, 'How an exception gets out'.
#[test]
fn operator_new_leaves_no_frame_behind_when_it_fails() {
    let slow: BTreeSet<u64> = addresses(|name| SLOW.contains(&name)).into_values().collect();
    assert_eq!(slow.len(), SLOW.len(), "the slow routines have symbols");
    let slots = slots(&slow);
    let jump = match processor() {
        Processor::X86_64 => "jmp    *%",
        Processor::Aarch64 => "br ",
    };

    let functions = disassemble();
    let operators = addresses(|name| NEW.contains(&name));
    assert_eq!(operators.len(), NEW.len());
    for (name, address) in operators {
        let body = &functions[&address];
        let (mut jumps, mut loads) = (false, false);
        for instruction in body {
            let text = &instruction.text;
            let loaded = loaded_from(body, text).is_some_and(|slot| slots.contains(&slot));
            let reaches = instruction.target.is_some_and(|target| slow.contains(&target) || slots.contains(&target));
            assert!(!(reaches && calls(text)), "{name} calls a slow routine: {text}");
            assert!(
                !text.starts_with("call   *%") && !text.starts_with("blr "),
                "{name} may call a slow routine: {text}"
            );
            // 'mov slot(%rip),%rax' is followed by 'jmp *%rax'.
            jumps |= reaches && transfers(text);
            loads |= loaded || reaches && !transfers(text);
        }
        assert!(jumps || loads, "{name} does not reach a slow routine");
        assert!(!loads || body.iter().any(|instruction| instruction.text.starts_with(jump)), "{name}: no jump");
    }
}

/// A call on the hot path (of a slow path that was inlined, or of an atomic operation that the compiler keeps out of line on
/// aarch64) would cost every malloc a frame.
#[test]
fn malloc_and_free_call_nothing() {
    let functions = disassemble();
    for (name, address) in addresses(|name| ["malloc", "free", "free_sized", "_Znwm", "_ZdlPv"].contains(&name)) {
        let call = functions[&address].iter().find(|instruction| calls(&instruction.text));
        assert!(call.is_none(), "{name}: {}", call.map_or("", |call| &call.text));
    }
}

/// Without unwinding tables an exception could not leave the routines that throw.
#[test]
fn the_throwing_routines_have_unwinding_tables() {
    let frames = tool("readelf", &["--debug-dump=frames", "-W"]);
    for (name, address) in addresses(|name| SLOW.contains(&name)) {
        assert!(frames.contains(&format!("pc={address:016x}..")), "{name} has no entry in .eh_frame");
    }
}
