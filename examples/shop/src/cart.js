/** A customer's cart: what was put in, and how often. */
export class Cart {
  #lines = new Map();

  /** Puts `quantity` of a product in. */
  add(product, quantity = 1) {
    const line = this.#lines.get(product.id) ?? { product, quantity: 0 };
    line.quantity += quantity;
    this.#lines.set(product.id, line);
  }

  /** Takes a product out, however often it is in. */
  remove(productId) {
    return this.#lines.delete(productId);
  }

  /** What the customer has to pay, in cents. */
  total(discount = 0) {
    let cents = 0;
    for (const { product, quantity } of this.#lines.values()) cents += product.cents * quantity;
    return applyDiscount(cents, discount);
  }
}

/** Takes a percentage off, rounded to whole cents in favour of the customer. */
export function applyDiscount(cents, percent) {
  if (percent < 0 || percent > 100) throw new RangeError(`discount of ${percent} %`);
  return Math.floor((cents * (100 - percent)) / 100);
}
