package example.parser

import scala.collection.mutable

/** The result of a parser. */
sealed trait Result[+A] {
  def map[B](f: A => B): Result[B]
  val position: Int
}

case class Success[A](value: A, position: Int) extends Result[A] {
  override def map[B](f: A => B): Result[B] = Success(f(value), position)
}

case object Failure extends Result[Nothing]

// Reads input piece by piece.
@deprecated("use Reader", "2.0")
abstract class Parser[A](input: String) extends Base with Logging {
  private val cache = mutable.Map.empty[Int, A]
  var depth = 0
  type Token = String

  def parse(position: Int): Result[A]

  def many(limit: Int): List[A] = {
    val found = mutable.ListBuffer.empty[A]
    def loop(at: Int): Unit = if (at < limit) {
      found += cache(at)
      loop(at + 1)
    }
    loop(0)
    found.toList
  }
}

object Parser {
  final val MaxDepth = 100
  val Default, Other = new Parser("")
  def apply[A](input: String): Parser[A] = new Parser[A](input) {}
  implicit class Ops(text: String) { def twice: String = text + text }
}

package object util {
  def helper(): Unit = ()
}

enum Color(val rgb: Int):
  case Red extends Color(0xFF0000)
  case Green, Blue

given ordering: Ordering[Color] = Ordering.by(_.rgb)
extension (text: String)
  def shout: String = text.toUpperCase

def main(args: Array[String]): Unit =
  println(args)
