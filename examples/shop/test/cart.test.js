import assert from 'node:assert/strict';
import test from 'node:test';
import { applyDiscount, Cart } from '../src/cart.js';

test('a discount favours the customer', () => assert.equal(applyDiscount(999, 10), 899));

test('the same product twice is one line', () => {
  const cart = new Cart();
  cart.add({ id: 7, cents: 250 });
  cart.add({ id: 7, cents: 250 });
  assert.equal(cart.total(), 500);
});
