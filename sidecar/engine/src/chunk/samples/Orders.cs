using System;
using System.Collections.Generic;

namespace Shop.Orders
{
    public delegate void Changed(object sender, int count);

    /// <summary>What a customer wants.</summary>
    [Serializable]
    public partial class Order<T> : IOrder where T : Item
    {
        public const int MaxItems = 100;
        private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(5);
        private readonly List<T> _items = new();

        public event EventHandler<int> ItemAdded;

        public Order(string customer)
        {
            Customer = customer;
        }

        /// <summary>Who ordered.</summary>
        public string Customer { get; }

        public int Total => Sum();

        public T this[int index] => _items[index];

        [Obsolete]
        public async Task<bool> AddAsync(T item, CancellationToken token = default)
        {
            if (_items.Count >= MaxItems)
            {
                throw new InvalidOperationException("The order is full already");
            }
            int Sum() => 1;
            await Save(item, token);
            return true;
        }

        public static Order<T> operator +(Order<T> left, T item) => left.With(item);

        ~Order() { Dispose(); }
    }

    public record Address(string Street, string City);
    public readonly record struct Point(int X, int Y);
    public enum State { Open, Closed }
    internal struct Money { public decimal Amount; }

    public interface IOrder
    {
        int Total { get; }
        void Cancel(string reason);
    }

    public static class Extensions
    {
        public static bool IsOpen(this State state) => state == State.Open;
    }
}
