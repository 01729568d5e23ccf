import Foundation

public let defaultVolume = 0.5
typealias Completion = (Result<Track, Error>) -> Void

/// Plays tracks.
@available(iOS 13.0, *)
public protocol Player: AnyObject {
    associatedtype Source
    var isPlaying: Bool { get }
    func play(_ track: Track) throws
}

public struct Track: Codable {
    static let maxLength = 600
    let title: String
    var length: Int

    init(title: String) {
        self.title = title
        self.length = 0
    }

    subscript(index: Int) -> Character { title[index] }
}

// Plays on this device.
final class LocalPlayer<Engine: AudioEngine>: Player {
    private lazy var engine = Engine()
    var volume: Double { engine.volume }

    deinit { engine.stop() }

    @discardableResult
    func play(_ track: Track, after delay: TimeInterval = 0) throws -> Bool {
        guard track.length > 0 else {
            throw PlayerError.empty(track.title)
        }
        func schedule() { queue.asyncAfter(delay) }
        schedule()
        return engine.start(track)
    }

    class func shared() -> LocalPlayer { instance }
}

enum PlayerError: Error {
    case empty(String)
    case busy

    var message: String { "the player cannot play" }
}

extension Track: Equatable {
    static func == (left: Track, right: Track) -> Bool { left.title == right.title }
    func shortened() -> Track { self }
}

actor Library {
    func add(_ track: Track) {}
}

func makePlayer() -> some Player { LocalPlayer() }
infix operator <+>: AdditionPrecedence
