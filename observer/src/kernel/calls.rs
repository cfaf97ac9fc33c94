//! What the programs may call of the kernel: helpers that read, and that write to maps alone. The object that is embedded is gone
//! through, instruction by instruction.

use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSection as _, SectionKind};

use super::{casts, programs::OBJECT};

/// `enum bpf_func_id`, include/uapi/linux/bpf.h: looking up, updating and deleting in a map, the time, the processor, the task that runs,
/// the stack, reading of kernel memory, jiffies, the four of ring buffers, `bpf_loop`.
const ALLOWED: [u32; 14] = [1, 2, 3, 5, 8, 35, 67, 113, 118, 130, 131, 132, 133, 181];
/// `struct bpf_insn`: `BPF_JMP | BPF_CALL`, and the first half of a wide number.
const CALL: u8 = 0x85;
const LOAD_WIDE: u8 = 0x18;
/// `BPF_PSEUDO_CALL`, as a call's source register: a function of the object itself.
const OWN: u8 = 1 << 4;

/// Calls of anything that is not allowed, as they are: and how many calls there are.
fn strangers(code: &[u8]) -> (Vec<[u8; 8]>, usize) {
    let (mut found, mut count) = (Vec::new(), 0);
    let mut instructions = code.as_chunks::<8>().0.iter();
    while let Some(instruction) = instructions.next() {
        if instruction[0] == LOAD_WIDE {
            instructions.next();
        }
        if instruction[0] != CALL {
            continue;
        }
        count += 1;
        let [_, registers, _, _, number @ ..] = *instruction;
        let is_allowed = match registers & 0xf0 {
            0 => ALLOWED.contains(&u32::from_le_bytes(number)),
            registers => registers == OWN,
        };
        if !is_allowed {
            found.push(*instruction);
        }
    }
    (found, count)
}

#[test]
fn the_programs_call_nothing_that_writes_to_more_than_maps() {
    // A build that only checks has no programs.
    if OBJECT.is_empty() {
        return;
    }
    // The one function of the kernel's, which is no helper, is resolved away: what it gives can only be read.
    let object = casts::resolve(OBJECT, 0).expect("an object");
    let file = ElfFile64::<Endianness>::parse(&*object).expect("an object");
    let mut calls = 0;
    for section in file
        .sections()
        .filter(|section| section.kind() == SectionKind::Text)
    {
        let (strangers, count) = strangers(section.data().expect("code"));
        assert!(
            strangers.is_empty(),
            "{}: {strangers:02x?}",
            section.name().unwrap_or_default()
        );
        calls += count;
    }
    assert!(calls > 100, "{calls} calls: the object was not gone through");
}

#[test]
fn a_call_that_writes_is_found() {
    let call = |registers: u8, number: u8| [CALL, registers, 0, 0, number, 0, 0, 0];
    let wide = [[LOAD_WIDE, 1, 0, 0, 0, 0, 0, 0], call(0, 36)];
    let (read, own, exit) = (call(0, 113), call(OWN, 5), [0x95, 0, 0, 0, 0, 0, 0, 0]);
    // bpf_probe_write_user, bpf_skb_store_bytes, bpf_override_return, and a function of the kernel.
    let writes = [call(0, 36), call(0, 9), call(0, 58), call(2 << 4, 7)];
    let code = [&wide[..], &[read, own, exit], &writes].concat();
    assert_eq!(strangers(code.as_flattened()), (writes.to_vec(), 6));
}
