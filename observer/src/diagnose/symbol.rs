//! Names of kernel functions, as /proc/kallsyms has them.

/// The function's own name, without an offset (`+0x1a`) and the suffixes of the copies that the compiler makes.
pub fn plain(symbol: &str) -> &str {
    let name = symbol.split(['+', ' ']).next().unwrap_or(symbol);
    // A name that begins with a dot has no function name before its first one.
    match name.find('.') {
        Some(end) if end > 0 => &name[..end],
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn the_compilers_copies_go_by_the_functions_own_name() {
        assert_eq!(plain("ip_rcv_finish_core.isra.0"), "ip_rcv_finish_core");
        assert_eq!(plain("ip_rcv_core.constprop.0+0x1f"), "ip_rcv_core");
        assert_eq!(plain("nf_hook_slow+0x9d [nf]"), "nf_hook_slow");
        assert_eq!(plain(".x"), ".x");
        assert_eq!(plain(""), "");
    }
}
