// A small client.
import 'dart:async';

const int defaultPort = 8080;
final timeouts = <String, Duration>{};
var counter = 0, spare = 1;

typedef Handler<T> = Future<void> Function(T event);

/// How a connection stands.
enum State { idle, open, closed }

/// Something that can be closed.
abstract class Closable {
  bool get isClosed;
  Future<void> close();
}

/// Talks to the server.
@immutable
class Client<T> extends Base with Logging implements Closable {
  static const retries = 3;
  static final cache = <String>[];
  final String host;
  State _state = State.idle;

  const Client(this.host);
  Client.local() : host = 'localhost';
  factory Client.fromUri(Uri uri) => Client(uri.host);

  @override
  bool get isClosed => _state == State.closed;

  set state(State value) {
    _state = value;
  }

  /// Connects, and tries again when the server does not answer at once.
  Future<void> connect({int port = defaultPort}) async {
    for (var attempt = 0; attempt < retries; attempt++) {
      final socket = await open(host, port);
      if (socket != null) return;
    }
    throw TimeoutException('no answer from $host');
  }

  bool operator ==(Object other) => other is Client && other.host == host;

  @override
  Future<void> close() async {}
}

mixin Logging on Base {
  void log(String message) {
    print('${DateTime.now()}: $message');
  }
}

extension Shout on String {
  String shout() => toUpperCase();
}

extension on int {
  int twice() => this * 2;
}

extension type UserId(int id) {
  bool get isValid => id > 0;
}

class Mixed = Base with Logging;

int get total => counter + spare;

Future<int> main(List<String> arguments) async {
  int helper(int n) => n + 1;
  const local = 1;
  return helper(arguments.length + local);
}
