//! Calls of the kernel's function `bpf_rdonly_cast` in the object.
//!
//! Aya knows no calls of the kernel's functions. So the programs call a helper that does not exist, [`CAST_CALL`], and before
//! aya sees the object, each such call becomes one of the function (Documentation/bpf/kfuncs.rst, `BPF_PSEUDO_KFUNC_CALL`).
//! Where there is none it becomes a zero: those branches are never reached, and the verifier takes them out.

use anyhow::{Context as _, Result, bail};
use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSection as _, SectionKind};
use observer_common::CAST_CALL;

/// `struct bpf_insn`, include/uapi/linux/bpf.h
const INSTRUCTION_BYTES: usize = 8;
/// `BPF_JMP | BPF_CALL`
const CALL: u8 = 0x85;
/// `BPF_LD | BPF_IMM | BPF_DW`: the next instruction is its other half.
const LOAD_WIDE: u8 = 0x18;
/// `BPF_ALU64 | BPF_MOV | BPF_K`, to register 0.
const RETURN_ZERO: [u8; INSTRUCTION_BYTES] = [0xb7, 0, 0, 0, 0, 0, 0, 0];
/// `BPF_PSEUDO_KFUNC_CALL`, as a call's source register.
const KERNEL_FUNCTION: u8 = 2 << 4;

/// The object with every cast in it made a call of this function, a number of the kernel's types; 0: there is none.
///
/// # Errors
/// It is no object, it has no casts, or one is not a plain call.
pub fn resolve(object: &[u8], function: u32) -> Result<Vec<u8>> {
    let mut resolved = object.to_vec();
    let file = ElfFile64::<Endianness>::parse(object).context("the eBPF object is none")?;
    let mut count = 0;
    for section in file
        .sections()
        .filter(|section| section.kind() == SectionKind::Text)
    {
        let Some((at, len)) = section.file_range() else {
            continue;
        };
        let range = usize::try_from(at)?..usize::try_from(at.saturating_add(len))?;
        let code = resolved.get_mut(range).context("the eBPF object is cut short")?;
        count += resolve_in(code, function)?;
    }
    if count == 0 {
        bail!("the eBPF object has no casts");
    }
    Ok(resolved)
}

/// How many there were.
fn resolve_in(code: &mut [u8], function: u32) -> Result<usize> {
    let mut count = 0;
    let (mut instructions, rest) = code.as_chunks_mut::<INSTRUCTION_BYTES>();
    if !rest.is_empty() {
        bail!("the eBPF object has half an instruction");
    }
    while let Some((instruction, others)) = instructions.split_first_mut() {
        instructions = others;
        if instruction[0] == LOAD_WIDE {
            instructions = instructions.get_mut(1..).unwrap_or_default();
            continue;
        }
        if instruction[4..] != CAST_CALL.to_le_bytes() {
            continue;
        }
        // No registers, no offset: a helper's call.
        if instruction[..4] != [CALL, 0, 0, 0] {
            bail!("the eBPF object has a cast that is no call: {instruction:02x?}");
        }
        if function == 0 {
            *instruction = RETURN_ZERO;
        } else {
            instruction[1] = KERNEL_FUNCTION;
            instruction[4..].copy_from_slice(&function.to_le_bytes());
        }
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAST: [u8; 8] = [0x85, 0, 0, 0, b't', b's', b'a', b'c'];
    const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

    fn resolved(code: &[[u8; 8]], function: u32) -> Result<(usize, Vec<[u8; 8]>)> {
        let mut bytes = code.concat();
        let count = resolve_in(&mut bytes, function)?;
        Ok((count, bytes.as_chunks().0.to_vec()))
    }

    #[test]
    fn a_cast_becomes_a_call_of_the_kernels_function() {
        let (count, code) = resolved(&[CAST, EXIT, CAST], 0x0102_0304).expect("plain calls");
        let call = [0x85, 0x20, 0, 0, 4, 3, 2, 1];
        assert_eq!((count, code), (2, vec![call, EXIT, call]));
    }

    #[test]
    fn without_the_function_it_is_zero() {
        let (count, code) = resolved(&[CAST, EXIT], 0).expect("plain calls");
        assert_eq!((count, code), (1, vec![RETURN_ZERO, EXIT]));
    }

    #[test]
    fn other_calls_and_numbers_stay() {
        let helper = [0x85, 0, 0, 0, 113, 0, 0, 0];
        let wide = [0x18, 1, 0, 0, b't', b's', b'a', b'c'];
        let code = [helper, wide, CAST, EXIT];
        assert_eq!(
            resolved(&code, 7).expect("nothing of it is a cast"),
            (0, code.to_vec()),
            "the other half of a wide number is no instruction"
        );
    }

    #[test]
    fn a_cast_that_is_no_call_is_an_error() {
        for strange in [[0xb7, 1], [0x85, 0x10], [0x85, 0x20], [0x05, 0]] {
            let mut instruction = CAST;
            instruction[..2].copy_from_slice(&strange);
            assert!(resolved(&[instruction], 7).is_err(), "{strange:02x?}");
        }
        let mut half = CAST.to_vec();
        half.pop();
        assert!(resolve_in(&mut half, 7).is_err());
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        assert!(resolve(&[], 7).is_err());
        assert!(resolve(&[0x7f; 64], 7).is_err());
    }
}
