"""The page, as text. All input of users and all texts of brokers pass through `escape`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from example_apps.shop import ANNOUNCED, CATALOGUE, Order


def order_page(
    root: str, broker: str, orders: Sequence[Order], placed: Order | None, form: Mapping[str, object], problem: str
) -> str:
    """Return the page; *root* is the path under which the application is mounted."""
    root = escape(root)
    options = "".join(
        f'<option value="{escape(item)}"{" selected" if item == form.get("item") else ""}>'
        f"{escape(item)} &middot; {price} €</option>"
        for item, price in CATALOGUE.items()
    )
    return f"""<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Corner Coffee: orders</title>
  <link rel="stylesheet" href="{root}/style.css">
  <link rel="icon" href="{root}/favicon.ico">
  <script src="{root}/live.js" defer></script>
</head>
<body>
  <h1>Corner Coffee</h1>
  <p class="about">A plain WSGI application. Every order is announced at <code>{escape(broker)}</code></p>
  {_notice(placed, problem)}
  <div class="columns">
    <form class="card" method="post" action="{root}/orders">
      <h2>New order</h2>
      <label>Your name
        <input name="customer" value="{escape(str(form.get("customer", "")))}" required maxlength="80"
               autocomplete="name"></label>
      <label>What would you like?
        <select name="item">{options}</select></label>
      <label>How many?
        <input name="quantity" type="number" value="{escape(str(form.get("quantity", 1)))}" required min="1"
               max="99"></label>
      <button>Order</button>
    </form>
    <section class="card" id="orders" data-page="{root}/">
      <h2>Orders</h2>
      <ul>{"".join(_entry(root, order) for order in orders) or '<li class="soft">None yet.</li>'}</ul>
    </section>
  </div>
</body>
</html>
"""


def _notice(placed: Order | None, problem: str) -> str:
    if problem:
        return f'<div class="notice bad" role="alert"><strong>{escape(problem)}</strong></div>'
    if placed is None:
        return ""
    if placed.state == ANNOUNCED:
        return f"""<div class="notice good" role="status"><strong>Thank you, {escape(placed.customer)}!</strong>
    <p>Order {placed.id} is saved and announced.</p></div>"""
    return f"""<div class="notice bad" role="alert"><strong>Order {placed.id} is saved, but {placed.label}.</strong>
    <p>{escape(placed.detail)}</p></div>"""


def _entry(root: str, order: Order) -> str:
    again = ""
    if order.state == ANNOUNCED:
        told = f"""<span class="badge good">{order.label}</span>
            <span class="soft">message <code>{escape(order.message_id)}</code>, {order.milliseconds:.1f} ms</span>"""
    else:
        told = f"""<span class="badge bad">{order.label}</span> <span class="soft">{order.state}</span>"""
        again = f"""<form class="end" method="post" action="{root}/orders/{order.id}/announce">
              <button class="small" aria-label="Try again to announce order {order.id}">Try again</button></form>"""
    return f"""
        <li>
          <div class="row">
            <span><strong>{escape(order.customer)}</strong>
              &middot; {order.quantity} &times; {escape(order.item)}</span>
            <span class="soft">no. {order.id} &middot; {order.total} €
              {"&middot; in the books" if order.booked_at else ""}</span>
          </div>
          <div class="told"{" data-waits" if order.waits else ""}>{told} {_handled(order)} {again}</div>
        </li>"""


def _handled(order: Order) -> str:
    if order.handled_at:
        return f"""<span class="end"><span class="badge good">handled</span>
              <time class="soft" datetime="{order.handled_at.isoformat()}">{order.when_handled}</time></span>"""
    return '<span class="soft end">not handled yet</span>' if order.waits else ""
