//! Any address in any spelling: a link to a forbidden one is never followed, whatever stands around it.
#![no_main]

use std::net::{Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use natsbridge_fileserver::fuzzing::followed;
use natsbridge_fuzz::{forbidden, forbidden_v4, forbidden_v6, steered_v4, steered_v6};

/// Every way to write an IPv4 address that a URL parser or a system takes
fn spellings(ip: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = ip.octets();
    let [ab, cd] = [[a, b], [c, d]].map(u16::from_be_bytes);
    let number = u32::from(ip);
    let low = number & 0x00ff_ffff;
    vec![
        ip.to_string(),
        format!("{number}"),
        format!("0x{number:x}"),
        format!("0X{number:08X}"),
        format!("0{number:o}"),
        format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("{a}.{low}"),
        format!("{a}.{b}.{cd}"),
        format!("{a:#x}.0{b:o}.{cd}"),
        format!("{a}.{b}.{c}.{d}."),
        format!("%{:02x}{}", format!("{a}").as_bytes()[0], &format!("{ip}")[1..]),
        format!("[::ffff:{ip}]"),
        format!("[::ffff:{ab:x}:{cd:x}]"),
        format!("[0:0:0:0:0:FFFF:{ab:x}:{cd:x}]"),
        format!("[::{ip}]"),
        format!("[::ffff:0:{ip}]"),
        format!("[64:ff9b::{ip}]"),
        format!("[2002:{ab:x}:{cd:x}::]"),
        format!("[2001:0:1:2:3:4:{:x}:{:x}]", !ab, !cd),
    ]
}

fuzz_target!(|input: (u8, u32, u128, &str, &str)| {
    let (which, v4, v6, before, path) = input;
    let v4 = steered_v4(which, Ipv4Addr::from(v4));
    let v6 = steered_v6(which, v4, Ipv6Addr::from(v6));
    assert!(forbidden_v4(v4));
    let mut hosts = spellings(v4);
    if forbidden_v6(v6) {
        hosts.push(format!("[{v6}]"));
    }
    // `::1` is loopback, which is allowed, whichever IPv4 address it could also be.
    hosts.retain(|host| host != "[::0.0.0.1]");
    for host in hosts {
        for link in [
            format!("http://{host}/{path}"),
            format!("https://{host}:8080/{path}"),
            format!("http://{host}?{path}"),
            format!("http:{host}/{path}"),
            format!("http:\\\\{host}\\{path}"),
            format!("http://{before}@{host}/{path}"),
            format!(" HTTP://\t{host}\n/{path}"),
        ] {
            if let Ok(url) = followed(&[], &link) {
                // What stands before may have made another host of it: then it is that one's turn.
                assert!(!forbidden(&url), "{link:?} leads to {url}");
                assert!(link.contains(before) && !before.is_empty(), "{link:?} is followed to {url}");
            }
        }
    }
});
