//! A plan that a person edited is refused at the line that is wrong, with what was found and expected.
use compiler::import::Checkpoint;
use compiler::{codegen, compile};
use ir::DType;
use ir::plan::{Activations, Device, Options, Partition, Plan};
use tests::fixtures;
use tests::running::exact;

/// The plan of a tiny model for two sequences.
fn text() -> String {
    text_of(64, 16, Partition::WHOLE)
}

/// The same for sequences of other length in other pages.
fn text_of(context: u32, page: u32, partition: Partition) -> String {
    let checkpoint =
        Checkpoint::open(&fixtures::path("tiny/gguf/llama.gguf")).unwrap_or_else(|e| panic!("{e}"));
    let options = Options {
        rows: 4,
        page,
        kv: DType::F16,
        activations: Activations::Int8,
        partition,
        ..exact(context)
    };
    let devices: Vec<Device> = (0..partition.devices()).map(|number| Device::cpu(number, 2)).collect();
    compile(&checkpoint, options, &devices).unwrap_or_else(|e| panic!("{e}")).plan.to_text()
}

/// What is found wrong with a plan's text.
fn faults(text: &str) -> Vec<String> {
    let plan = Plan::from_text(text).unwrap_or_else(|e| panic!("{e}"));
    let mut faults = plan.verify().err().unwrap_or_default();
    faults.extend(codegen::verify_devices(&plan));
    faults.extend(codegen::verify_weights(&plan));
    faults.iter().map(|f| f.explain(text)).collect()
}

/// The line, from 1, that holds all of `needles`.
fn line(text: &str, needles: &[&str]) -> usize {
    let at = text.lines().position(|line| needles.iter().all(|n| line.contains(n)));
    1 + at.unwrap_or_else(|| panic!("no line holds {needles:?} in\n{text}"))
}

/// The text with `from` replaced on the first line that holds it and `needle`.
fn edited(text: &str, needle: &str, from: &str, to: &str) -> String {
    let at = line(text, &[needle, from]) - 1;
    let one = |(i, line): (usize, &str)| if i == at { line.replacen(from, to, 1) } else { line.to_owned() };
    text.lines().enumerate().map(one).collect::<Vec<_>>().join("\n") + "\n"
}

/// Each edit: on the first line with the first, the second becomes the third; what is then said of the line
/// with the fourth, or of the edited line where that is empty.
#[track_caller]
fn refused(edits: &[[&str; 5]]) {
    refused_in(&text(), edits);
}

#[track_caller]
fn refused_in(sound: &str, edits: &[[&str; 5]]) {
    assert_eq!(faults(sound), Vec::<String>::new(), "as compiled");
    for [needle, from, to, at, message] in edits {
        let text = edited(sound, needle, from, to);
        let line = if at.is_empty() { line(sound, &[needle, from]) } else { line(&text, &[at]) };
        let found = faults(&text);
        let is_said = found.iter().any(|f| f.starts_with(&format!("line {line}: ")) && f.contains(message));
        assert!(is_said, "{from} made {to}: expected line {line}: {message}, found {found:#?}");
    }
}

#[test]
fn a_device_is_of_the_kind_that_its_name_says() {
    let is_gpu = "is stated to be a GPU, expected a processor of that name";
    let is_cpu = "is stated to be a processor, expected a GPU of that name";
    refused(&[
        ["id:0,", "name:\"cpu:0\",", "name:\"cpu:0\",kind:gpu,", "", is_gpu],
        ["id:0,", "name:\"cpu:0\",", "name:\"vulkan:0\",", "", is_cpu],
    ]);
}

#[test]
fn options_hold_for_symbols_edges_and_caches() {
    refused(&[
        [
            "options:",
            "page:16",
            "page:32",
            "\"kv.0.k\"",
            "is f16[8, 1, 32, 16], the options ask for f16[4 pages or more, heads, width, 32]",
        ],
        [
            "options:",
            "page:16",
            "page:32",
            "\"kv.0.v\"",
            "is f16[8, 1, 16, 32], the options ask for f16[4 pages or more, heads, 32, width]",
        ],
        ["options:", "page:16", "page:0", "", "page is 0, expected 1 to"],
        [
            "options:",
            "context:64",
            "context:128",
            "\"pages\"",
            "carries i32[2, 4], the host feeds pages as i32[2, 8]",
        ],
        ["options:", "context:64", "context:128", "\"kv.1.v\"", "the options ask for f16[16 pages or more"],
        ["options:", "context:64", "context:4294967295", "", "context is 4294967295, expected 1 to"],
        ["options:", "max_batch:2", "max_batch:3", "\"n\",max", "in decode 2; the options make it 128 and 3"],
        [
            "options:",
            "chunk:128",
            "chunk:256",
            "\"n\",max",
            "symbol n is at most 128, in decode 2; the options make it 256 and 2",
        ],
        ["options:", "rows:4", "rows:8", "\"m\",max", "the options make it 8 and 2"],
        ["options:", "kv:\"f16\"", "kv:\"f32\"", "\"kv.0.v\"", "the options ask for f32["],
        [
            "options:",
            "activations:int8",
            "activations:f32",
            "",
            "activations are f32, kernel 1 has them as q8_a",
        ],
        ["options:", "memory:None", "memory:Some(5)", "phase:Load", "over the budget of 5"],
        ["\"n\",max", "\"n\"", "\"q\"", "", "symbol \"q\", expected n, m or w"],
        ["\"n\",max", "max:128", "max:256", "", "symbol n is at most 256"],
        ["\"kv.1.k\"", "f16[8,", "f16[7,", "", "is f16[7, 1, 32, 16]"],
    ]);
}

#[test]
fn the_host_feeds_and_takes_what_it_knows() {
    refused(&[
        [
            "\"slots\"",
            "slots",
            "slotz",
            "",
            "is fed \"slotz\", the host feeds tokens, positions, slots, pages, rows, whole",
        ],
        ["\"slots\"", "slots", "slotz", "edges: [", "no edge brings slots from the host"],
        ["\"slots\"", "\"slots\"", "\"rows\"", "", "carries i32[n], the host feeds rows as i32[m]"],
        ["\"rows\"", "i32[m]", "i32[n]", "", "carries i32[n], the host feeds rows as i32[m]"],
        ["\"whole\"", "i32[w]", "i32[m]", "", "carries i32[m], the host feeds whole as i32[w]"],
        [
            "\"logits\"",
            "logits",
            "logitz",
            "",
            "brings \"logitz\" to the host, expected logits or candidates",
        ],
        [
            "\"logits\"",
            "f32[w, 112]",
            "f32[n, 112]",
            "",
            "brings f32[n, 112] to the host, expected f32[w, vocabulary]",
        ],
        ["\"candidates\"", "candidates", "logits", "edges: [", "no edge brings candidates to the host"],
        ["\"candidates\"", "candidates", "logits", "", "is a second edge for \"logits\""],
        ["\"candidates\"", "f32[m, 2, 64]", "f32[m, 2, 113]", "", "expected f32[m, 2, candidates]"],
        ["\"tokens\"", "from:Host", "from:Device(0)", "edges: [", "no edge brings tokens from the host"],
        ["\"tokens\"", "capacity:1", "capacity:0", "", "its capacity is 0, expected 1 to 64"],
        [
            "\"tokens\"",
            "capacity:1",
            "capacity:4000000000",
            "",
            "its capacity is 4000000000, expected 1 to 64",
        ],
        [
            "\"tokens\"",
            "deadline_ms:30000",
            "deadline_ms:0",
            "",
            "its deadline is 0 ms, expected 1 to 3600000",
        ],
        ["\"logits\"", "deadline_ms:30000", "deadline_ms:3600001", "", "its deadline is 3600001 ms"],
    ]);
}

#[test]
fn replicas_answer_alike_and_each_for_itself() {
    let cut = Partition { data: 2, pipeline: 2, ..Partition::WHOLE };
    refused_in(
        &text_of(64, 16, cut),
        &[
            ["\"logits\",from:Device(3)", "f32[w, 112]", "f32[w, 56]", "", "expected f32[w, 112]"],
            ["\"logits\",from:Device(3)", "f32[w, 112]", "i32[w, 112]", "", "expected f32[w, 112]"],
            [
                "from:Device(0),to:Device(1)",
                "to:Device(1)",
                "to:Device(2)",
                "",
                "goes from device 0 to device 2, which belong to replicas with steps of their own",
            ],
        ],
    );
}

#[test]
fn a_body_loads_nothing_from_outside_its_inputs() {
    refused(&[
        [
            "x0[i0, (i2 + 96)]",
            "+ 96",
            "+ 97",
            "",
            "the body loads x0 at 97 to 128 along axis 1, f32[n, 128] has 128 there",
        ],
        ["k16 < 64", "k16 < 64", "k16 < 65", "", "at 0 to 64 along axis 1, f32[n, 64] has 64 there"],
        ["(i1 + 96)", "(i1 + 96)", "(i1 - 1)", "", "at -1 to 94"],
        ["(i2 % 2)", "== 0", "== 1", "", "along axis 1"],
        ["k16 < 64", "k16 < 64", "k16 < x0[i0, 0]", "", "at 0 to ?"],
    ]);
}

#[test]
fn indices_come_from_the_edge_that_bounds_them() {
    refused(&[
        [
            "blk.0.append_k",
            "B(1),B(2)",
            "B(2),B(1)",
            "",
            "argument 2 of kv_append holds slots, expected positions",
        ],
        [
            "blk.0.append_k",
            "B(1),B(2)",
            "B(1),B(1)",
            "",
            "argument 3 of kv_append holds positions, expected slots",
        ],
        [
            "blk.1.attention\"",
            "B(1),B(2)",
            "B(2),B(1)",
            "",
            "argument 3 of paged_attention holds slots, expected positions",
        ],
    ]);
    let rope = "blk.0.rope_q";
    let swapped = text().replace("\"tokens\"", "\"x\"").replace("\"positions\"", "\"tokens\"");
    let swapped = swapped.replace("\"x\"", "\"positions\"");
    let expected = format!(
        "line {}: the body loads x0 at 0 to 111 along axis 0, f32[64, 16] has 64 there, where x2 holds tokens",
        line(&swapped, &[rope])
    );
    assert!(faults(&swapped).contains(&expected), "{:#?}", faults(&swapped));
    // Fewer rows of cosines than positions; the weights' file may well hold them.
    let sound = text();
    let fewer = sound.replace("f32[64, 16]", "f32[48, 16]");
    let fewer = edited(&fewer, "rope.cos", "bytes:4096", "bytes:3072");
    let fewer = edited(&fewer, "rope.sin", "bytes:4096", "bytes:3072");
    let less = |line: &str| match line.split_once("weights:") {
        Some((before, rest)) if line.contains("phase:") => {
            let (weights, rest) = rest.split_once(',').unwrap();
            let (middle, total) = rest.split_once("total:").unwrap();
            let [weights, total] =
                [weights, total.trim_end_matches("),")].map(|n| n.parse::<u64>().unwrap() - 2048);
            format!("{before}weights:{weights},{middle}total:{total}),")
        }
        _ => line.to_owned(),
    };
    let fewer = fewer.lines().map(less).collect::<Vec<_>>().join("\n");
    let found = faults(&fewer);
    assert!(found[0].starts_with(&format!("line {}: ", line(&fewer, &[rope]))), "{found:#?}");
    assert!(
        found[0].contains("at 0 to 63 along axis 0, f32[48, 16] has 48 there, where x2 holds positions"),
        "{found:#?}"
    );
}

#[test]
fn only_an_append_writes_a_cache_and_in_place() {
    refused(&[
        [
            "blk.0.append_k",
            "S(0)]",
            "S(2)]",
            "",
            "appends to state 0 and writes state 2, expected one state, in place",
        ],
        ["blk.0.append_k", "[S(0)", "[S(2)", "", "appends to state 2 and writes state 0"],
        ["blk.0.append_k", "[S(0)", "[W(5)", "", "argument 0 is f32[64, 16] in plain"],
        ["blk.0.attn_norm", "B(7)]", "S(0)]", "", "argument 2 is f16[8, 1, 32, 16]"],
    ]);
    // A cache that is a buffer has the type, and not the pages that the host gives out.
    let text = text();
    let kernels = line(&text, &["    threads: ["]) - 2;
    let state = "f16[8, 1, 16, 32]";
    let writer = format!(
        "        (id:26,name:\"fused\",op:(\"fused\",\"body:\\\"x0[i0, i1, i2, i3]\\\",ty:\\\"{state}\\\"\"),inputs:[\"{state}\"],layouts:[\"plain\"],output:\"{state}\",scratch:0),"
    );
    let mut lines: Vec<&str> = text.lines().collect();
    lines.insert(kernels, &writer);
    let step = line(&lines.join("\n"), &["blk.0.attention"]) - 1;
    lines.insert(step, "            Run(kernel:26,args:[S(3),S(1)],node:\"by hand\"),");
    let text = lines.join("\n");
    let found = faults(&text);
    let expected = format!("line {}: fused writes state 1, which only kv_append may", step + 1);
    assert_eq!(found, [expected]);
}

#[test]
fn a_cache_is_taken_in_one_way() {
    // The width of a head is that of a page, so that the types fit either way.
    let edit = ["\"kv_append\"", "transposed:true", "", "\"kv.0.k\"", "is taken transposed by one kernel"];
    refused_in(&text_of(64, 32, Partition::WHOLE), &[edit]);
}

#[test]
fn memory_that_workers_share_follows_from_kernels() {
    let step = "blk.0.attention\"";
    refused(&[
        [
            "name:\"paged_attention\"",
            "scratch:",
            "shared:64,scratch:",
            step,
            "64 bytes of shared memory, the thread has 0",
        ],
        [
            "scratch_bytes:",
            "scratch_bytes:",
            "shared_bytes: 64, scratch_bytes:",
            "",
            "shared_bytes is 64, it follows 0",
        ],
    ]);
}

#[test]
fn an_item_that_is_not_there_is_a_fault_and_no_panic() {
    refused(&[
        ["node:\"embed\"", "B(6)", "B(500)", "", "there is no buffer 500"],
        ["node:\"embed\"", "W(0)", "W(4294967295)", "", "there is no weight 4294967295"],
        ["node:\"embed\"", "kernel:0", "kernel:26", "", "there is no kernel 26"],
        ["node:\"embed\"", "[W(0),B(0),B(6)]", "[]", "", "takes 2 inputs and an output, got 0 arguments"],
        ["blk.0.append_k", "S(0)", "S(9)", "", "there is no state 9"],
        ["Recv(edge:1", "to:1", "to:38", "", "there is no buffer 38"],
        ["Recv(edge:1", "edge:1", "edge:8", "", "there is no edge 8"],
        ["Send(edge:6", "from:35", "from:99", "", "there is no buffer 99"],
        ["id:7,device:0", "device:0", "device:1", "", "lies on device 1, which has no thread"],
        ["\"tokens\"", "Device(0)", "Device(7)", "edges: [", "no edge brings tokens from the host"],
    ]);
}

#[test]
fn bytes_follow_from_types_and_layouts() {
    refused(&[
        [
            "\"token_embd.weight\"",
            "bytes:4032",
            "bytes:4096",
            "",
            "states 4096 bytes, q4_0[112, 64] in t16.q4 takes 4032",
        ],
        [
            "\"token_embd.weight\"",
            "t16.q4",
            "t16.q9",
            "",
            "layout \"t16.q9\" is unknown, expected plain or one of t16.f32",
        ],
        ["\"token_embd.weight\"", "t16.q4", "t16.q8", "", "q4_0 in layout t16.q8, expected t16.q4"],
        ["\"output_norm.weight\"", "bytes:256", "bytes:128", "", "states 128 bytes, f32[64] takes 256"],
        ["phase:Prefill", "scratch:", "scratch:1", "", "prefill: scratch states 1"],
        [
            "phase:Prefill",
            "phase:Prefill",
            "phase:Decode",
            "",
            "is about decode of device 0, expected prefill of device 0",
        ],
        ["scratch_bytes:", "scratch_bytes: ", "scratch_bytes: 1", "", "it follows"],
        ["arena_bytes:", "arena_bytes: ", "arena_bytes: 1", "", "it follows"],
        ["arena_bytes:", "arena_bytes: ", "arena_bytes: 999999999999", "", "expected at most"],
        ["state_bytes:", "state_bytes: ", "state_bytes: 1", "", "it follows"],
        [
            "id:9,device:0",
            "f32[n, 2, 32]",
            "f32[n, 2, 99999999999]",
            "",
            "dimension 99999999999 of f32[n, 2, 99999999999] reaches 99999999999",
        ],
        [
            "id:9,device:0",
            "f32[n, 2, 32]",
            "f32[129-n, 2, 32]",
            "",
            "dimension -n+129 of f32[-n+129, 2, 32] shrinks as a symbol grows",
        ],
        ["id:9,device:0", "f32[n, 2, 32]", "f32[n-2, 2, 32]", "", "can be negative"],
    ]);
}

#[test]
fn steps_use_what_an_earlier_one_has_made_once() {
    let sound = text();
    let moved = |from: &str, to: &str| {
        let mut lines: Vec<&str> = sound.lines().collect();
        let moved = lines.remove(line(&sound, &[from]) - 1);
        let to = lines.iter().position(|line| line.contains(to)).unwrap();
        lines.insert(to, moved);
        lines.join("\n")
    };
    let late = moved("Recv(edge:4", "Send(");
    assert!(faults(&late)[0].contains("is read before it is written"), "{:#?}", faults(&late));
    // Another way to the same rows: m is not known when they are taken.
    let unknown = edited(&late, "node:\"rows\"", "B(4)", "B(3)");
    assert!(!faults(&unknown).is_empty());
    refused(&[
        ["node:\"blk.0.ffn_norm\"", "B(15)]", "B(14)]", "", "buffer 14 is written a second time"],
        ["node:\"blk.0.ffn_norm\"", "[B(14)", "[B(19)", "", "buffer 19 is read before it is written"],
    ]);
}

#[test]
fn two_devices_have_two_names() {
    let sound = text_of(64, 16, "pipeline:2".parse().unwrap());
    refused_in(
        &sound,
        &[["id:1,name:\"cpu:1\"", "cpu:1", "cpu:0", "id:1,name:\"cpu:0\"", "called cpu:0, too"]],
    );
}

#[test]
fn a_cache_that_is_read_is_written() {
    let sound = text();
    let append = line(&sound, &["node:\"blk.1.append_k\""]) - 1;
    let edited: Vec<&str> =
        sound.lines().enumerate().filter(|(at, _)| *at != append).map(|(_, line)| line).collect();
    let edited = edited.join("\n") + "\n";
    let reads = line(&edited, &["node:\"blk.1.attention\""]);
    let found = faults(&edited);
    assert_eq!(found, [format!("line {reads}: reads state 2, which no step of its device writes")]);
}
