//! User namespaces: how an ordinary user's card comes to make network namespaces and interfaces.
//!
//! Source: [user_namespaces(7)].

use std::fs;
use std::os::fd::AsFd;

use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType, UnshareFlags};

use crate::error::{Error, Result, Step};
use crate::process::{Process, ProcessId, is_single_threaded};
use crate::sys;

/// Moves the calling process into a new user namespace in which it is root; outside it stays the user
/// that it was. Only its own user and group exist inside. Must be called before threads are started.
pub fn enter() -> Result<()> {
    require_single_thread()?;
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    sys::unshare_namespaces(UnshareFlags::NEWUSER).step(|| "make a user namespace".into())?;
    // The kernel lets an ordinary user map groups only after the right to drop groups is given up.
    write_map("setgroups", "deny")?;
    write_map("uid_map", &format!("0 {user} 1\n"))?;
    write_map("gid_map", &format!("0 {group} 1\n"))
}

/// Moves the calling process into the user namespace of another one, for a command that looks at what
/// the user's card has made. Nothing happens when both are in the same. Must be called before threads
/// are started.
pub fn join_userns_of(process: ProcessId) -> Result<()> {
    if is_same_user_namespace(process.pid)? {
        return Ok(());
    }
    require_single_thread()?;
    let held = Process::open(process)?;
    rustix::thread::move_into_thread_name_spaces(held.as_fd(), ThreadNameSpaceType::USER)
        .step(|| format!("enter the user namespace of process {}", process.pid))
}

/// Moves the calling process into the user namespace in which that of another process was made: from an
/// instance's init to the namespace of the card that made it. Must be called before threads are started.
pub fn join_parent_of(process: ProcessId) -> Result<()> {
    require_single_thread()?;
    let what = || format!("find the user namespace above process {}", process.pid);
    let held = Process::open(process)?;
    let namespace = fs::File::open(format!("/proc/{}/ns/user", process.pid)).step(what)?;
    // Held before and still alive: the path named this process and no later one.
    if !held.id().is_alive() {
        return Err(Error::Gone { pid: process.pid });
    }
    let parent = sys::parent_user_namespace(namespace.as_fd()).step(what)?;
    rustix::thread::move_into_link_name_space(parent.as_fd(), Some(LinkNameSpaceType::User))
        .step(|| format!("enter the user namespace above process {}", process.pid))
}

/// Whether the process is in the caller's user namespace.
fn is_same_user_namespace(pid: u32) -> Result<bool> {
    let read = |path: String| fs::read_link(&path).step(|| format!("look at {path}"));
    Ok(read("/proc/self/ns/user".into())? == read(format!("/proc/{pid}/ns/user"))?)
}

fn write_map(file: &str, text: &str) -> Result<()> {
    fs::write(format!("/proc/self/{file}"), text)
        .step(|| format!("write /proc/self/{file} of the new user namespace"))
}

fn require_single_thread() -> Result<()> {
    if is_single_threaded() {
        return Ok(());
    }
    Err(Error::Invalid(
        "A process with several threads cannot change its user namespace".into(),
    ))
}
