# frozen_string_literal: true

require 'json'

# Work that is done later.
module Jobs
  VERSION = '1.2'
  Result = Struct.new(:status, :value)

  class Error < StandardError; end

  # A queue of jobs.
  class Queue < Base
    include Enumerable
    MAX_SIZE = 100

    attr_reader :name, :size
    attr_accessor :handler

    # Opens the queue of that name.
    def self.open(name, **options)
      new(name, options).tap(&:start)
    end

    class << self
      def default
        @default ||= open('default')
      end
    end

    def initialize(name, options = {})
      @name = name
      @size = 0
    end

    def push(job)
      raise Error, 'full' if @size >= MAX_SIZE
      @jobs.synchronize do
        @jobs << job
        @size += 1
      end
      notify(job)
    end

    def <<(job) = push(job)

    define_method(:drain) do |limit = nil|
      limit ||= @size
    end

    alias_method :enqueue, :push
    alias add push
    delegate :length, to: :@jobs
    scope :recent, -> { order(:time) }

    private

    def notify(job); end
    def empty? = @size.zero?
    def size=(value)
      @size = value
    end
  end
end

class Jobs::Worker
  def run; end
end

def main
  Jobs::Queue.open('mail').push(1)
end
