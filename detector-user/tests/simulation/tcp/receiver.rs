//! The far end of a flow: what it acknowledges, when, and the window that it offers.

/// What goes back to the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The next segment that is missing.
    pub next: u64,
    /// Free space, in segments.
    pub window: u32,
    /// Segments beyond `next` that have arrived: bit n is segment `next + 1 + n`.
    pub sacked: u64,
}

/// When it goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    Now,
    /// Unless another segment comes first, after the delay of 40 ms (`TCP_DELACK_MIN`,
    /// include/net/tcp.h).
    Later,
}

#[derive(Clone, Debug)]
pub struct Receiver {
    pub next: u64,
    sacked: u64,
    capacity: u32,
    unread: u32,
    /// Arrived and not yet acknowledged.
    pending: u32,
    /// The program is stopped: nothing is read.
    pub stopped: bool,
    /// Memory ends before the window that was offered does: `tcp_data_queue` in
    /// net/ipv4/tcp_input.c drops the segment and answers with a closed window.
    pub prunes: bool,
}

impl Receiver {
    pub fn new(capacity: u32) -> Self {
        Self {
            next: 0,
            sacked: 0,
            capacity,
            unread: 0,
            pending: 0,
            stopped: false,
            prunes: false,
        }
    }

    /// A segment has arrived; says when to answer and whether it was new.
    pub fn segment(&mut self, number: u64) -> (Response, bool) {
        if number < self.next {
            return (Response::Now, false);
        }
        let offset = number - self.next;
        if offset > 63 || self.is_full() {
            return (Response::Now, false);
        }
        if offset > 0 {
            let bit = 1 << (offset - 1);
            let new = self.sacked & bit == 0;
            self.sacked |= bit;
            return (Response::Now, new);
        }
        let filled_hole = self.sacked != 0;
        self.accept();
        while self.sacked & 1 == 1 {
            self.sacked >>= 1;
            self.accept();
        }
        if self.sacked != 0 {
            self.sacked >>= 1;
        }
        self.pending += 1;
        let at_once = filled_hole || self.pending >= 2 || self.window() == 0;
        (
            if at_once {
                Response::Now
            } else {
                Response::Later
            },
            true,
        )
    }

    /// The acknowledgement as it goes out now.
    pub fn ack(&mut self) -> Ack {
        self.pending = 0;
        Ack {
            next: self.next,
            window: self.window(),
            sacked: self.sacked,
        }
    }

    pub fn has_pending(&self) -> bool {
        self.pending > 0
    }

    /// The program reads all there is; says whether the window was closed before.
    pub fn resume(&mut self) -> bool {
        let was_closed = self.window() == 0;
        self.stopped = false;
        self.unread = 0;
        was_closed
    }

    /// All that was sent has arrived and is acknowledged.
    pub fn catch_up(&mut self, next: u64) {
        (self.next, self.sacked, self.pending) = (next, 0, 0);
    }

    fn accept(&mut self) {
        self.next += 1;
        if self.stopped {
            self.unread += 1;
        }
    }

    fn window(&self) -> u32 {
        if self.is_full() {
            return 0;
        }
        self.capacity - self.unread
    }

    fn is_full(&self) -> bool {
        let room = if self.prunes {
            self.capacity / 3 * 2
        } else {
            self.capacity
        };
        self.unread >= room
    }
}
