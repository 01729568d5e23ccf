//! A ring buffer.
const std = @import("std");
const Allocator = std.mem.Allocator;

pub const default_size: usize = 64;
var counter: u32 = 0;

/// What can go wrong.
pub const Error = error{ Full, Empty };

pub const Mode = enum { fifo, lifo };

/// A ring of `T`.
pub fn Ring(comptime T: type) type {
    return struct {
        const Self = @This();
        items: []T,
        head: usize = 0,

        pub fn init(allocator: Allocator, size: usize) !Self {
            return Self{ .items = try allocator.alloc(T, size) };
        }

        // Adds at the end.
        pub fn push(self: *Self, item: T) Error!void {
            if (self.isFull()) {
                return error.Full;
            }
            const next = (self.head + 1) % self.items.len;
            self.items[next] = item;
            self.head = next;
        }
    };
}

const Point = struct {
    x: f32,
    y: f32,

    pub fn length(self: Point) f32 {
        return @sqrt(self.x * self.x + self.y * self.y);
    }
};

const Value = union(enum) { number: i64, text: []const u8 };
extern "c" fn puts(text: [*:0]const u8) c_int;
export fn main() void {}

test "push and pop" {
    var ring = try Ring(u8).init(std.testing.allocator, 4);
    try ring.push(1);
}
