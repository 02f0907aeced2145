// Theme, keyboard, and brushes on plots. Everything works by links and forms without it.
(() => {
  const root = document.documentElement;
  const form = () => document.getElementById("filters");
  const rows = () => [...document.querySelectorAll("#labels tbody tr")];
  let selected = null;

  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-theme-switch]")) {
      root.dataset.theme = isDark() ? "light" : "dark";
      try { localStorage.setItem("theme", root.dataset.theme); } catch { /* it lasts for the page */ }
    } else if (event.target.closest("[data-open-help]")) {
      document.getElementById("help").showModal();
    } else {
      const row = event.target.closest("#labels tbody tr");
      if (row && !event.target.closest("a") && !String(getSelection())) row.querySelector("a").click();
    }
  });

  // What is empty is left out of the URL, so that it can be shared.
  document.addEventListener("htmx:configRequest", (event) => {
    const given = event.detail.parameters;
    for (const name of [...given.keys()]) {
      const values = given.getAll(name).filter((value) => value !== "");
      given.delete(name);
      values.forEach((value) => given.append(name, value));
    }
  });

  const select = (row) => {
    rows().forEach((one) => one.classList.remove("selected"));
    if (!row) return;
    row.classList.add("selected");
    row.scrollIntoView({ block: "nearest" });
    row.querySelector("a").focus({ preventScroll: true });
    selected = row.dataset.latent;
  };
  const follow = (selector) => {
    const link = document.querySelector(selector);
    if (link) link.click();
    return Boolean(link);
  };
  const move = (step) => {
    const all = rows();
    if (!all.length) return follow(step > 0 ? ".tools a[rel=next]" : ".tools a[rel=prev]");
    const at = all.findIndex((row) => row.classList.contains("selected"));
    const next = at + step;
    if (at >= 0 && next >= all.length) return follow(".pages a[rel=next]");
    if (at >= 0 && next < 0) return follow(".pages a[rel=prev]");
    return select(all[at < 0 ? 0 : next]);
  };

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea");
    if (event.key === "Escape" && typing) return typing.blur();
    if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const does = {
      j: () => move(1),
      k: () => move(-1),
      u: () => follow("[data-up]"),
      "/": () => { document.getElementById("q")?.focus(); document.getElementById("q")?.select(); },
      "?": () => document.getElementById("help").showModal(),
    }[event.key];
    if (does) { event.preventDefault(); does(); }
  });

  // A place in a drawing, from 0 to 1, and the value there.
  const clamp = (share) => Math.min(1, Math.max(0, share));
  const value = (share, low, high, scale) => {
    const at = scale === "log"
      ? 10 ** (Math.log10(low) + share * (Math.log10(high) - Math.log10(low)))
      : low + share * (high - low);
    return Number(at.toPrecision(3));
  };
  const place = (at, low, high, scale) => {
    if (scale === "log") return clamp((Math.log10(Math.max(at, 1e-12)) - Math.log10(low)) / (Math.log10(high) - Math.log10(low)));
    return clamp((at - low) / (high - low));
  };
  const fill = (name, text) => {
    let input = form().elements[name];
    if (!input) {  // a measure without a histogram
      input = Object.assign(document.createElement("input"), { type: "hidden", name });
      form().append(input);
    }
    input.value = text;
  };
  const submit = () => form().dispatchEvent(new Event("change", { bubbles: true }));

  const showRange = (box) => {
    const { low, high, scale } = box.dataset;
    const [least, most] = [form().elements[box.dataset.min].value, form().elements[box.dataset.max].value];
    const rect = box.querySelector(".selection");
    const width = box.querySelector("svg").viewBox.baseVal.width;
    const from = least === "" ? 0 : place(+least, +low, +high, scale);
    const to = most === "" ? 1 : place(+most, +low, +high, scale);
    rect.setAttribute("x", from * width);
    rect.setAttribute("width", least === "" && most === "" ? 0 : Math.max(0, to - from) * width);
  };

  const drag = (svg, start, moved, ended) => {
    svg.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      svg.setPointerCapture(event.pointerId);
      const from = start(event);
      let last = from;
      const onMove = (next) => { last = start(next); moved(from, last); };
      const onUp = () => {
        svg.removeEventListener("pointermove", onMove);
        svg.removeEventListener("pointerup", onUp);
        svg.removeEventListener("pointercancel", onUp);
        ended(from, last, event);
      };
      svg.addEventListener("pointermove", onMove);
      svg.addEventListener("pointerup", onUp);
      svg.addEventListener("pointercancel", onUp);
    });
  };

  const brush = (box) => {
    const svg = box.querySelector("svg");
    const rect = svg.querySelector(".selection");
    const width = svg.viewBox.baseVal.width;
    const { low, high, scale } = box.dataset;
    const at = (event) => {
      const seen = svg.getBoundingClientRect();
      return clamp((event.clientX - seen.left) / seen.width);
    };
    drag(svg, at, (from, to) => {
      rect.setAttribute("x", Math.min(from, to) * width);
      rect.setAttribute("width", Math.abs(to - from) * width);
    }, (from, to) => {
      const isClick = Math.abs(to - from) < 0.01;
      const [least, most] = [Math.min(from, to), Math.max(from, to)];
      fill(box.dataset.min, isClick || least === 0 ? "" : value(least, +low, +high, scale));
      fill(box.dataset.max, isClick || most === 1 ? "" : value(most, +low, +high, scale));
      submit();
    });
    showRange(box);
  };

  const plot = (svg) => {
    const data = svg.dataset;
    const rect = svg.querySelector(".selection");
    const at = (event) => {
      const here = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      return { x: clamp(here.x / +data.width), y: clamp(here.y / +data.height), px: here.x, py: here.y };
    };
    drag(svg, at, (from, to) => {
      rect.setAttribute("x", Math.min(from.x, to.x) * +data.width);
      rect.setAttribute("y", Math.min(from.y, to.y) * +data.height);
      rect.setAttribute("width", Math.abs(to.x - from.x) * +data.width);
      rect.setAttribute("height", Math.abs(to.y - from.y) * +data.height);
    }, (from, to) => {
      if (Math.hypot(to.px - from.px, to.py - from.py) < 5) {
        const near = [...svg.querySelectorAll("circle")]
          .map((one) => ({ one, far: Math.hypot(one.cx.baseVal.value - to.px, one.cy.baseVal.value - to.py) - one.r.baseVal.value }))
          .sort((a, b) => a.far - b.far)[0];
        if (!near || near.far > 8) return;
        const { latent, n, vx, vy } = near.one.dataset;
        if (n === "1") { location.href = `${data.base}/${latent}${location.search}`; return; }
        const half = 0.0026;
        const around = (text, scale) => (scale === "log" ? [text * 0.95, text * 1.05] : [text - half, +text + half]);
        const [[x0, x1], [y0, y1]] = [around(vx, data.xScale), around(vy, data.yScale)];
        fill(`min_${data.x}`, x0.toPrecision(4)); fill(`max_${data.x}`, x1.toPrecision(4));
        fill(`min_${data.y}`, y0.toPrecision(4)); fill(`max_${data.y}`, y1.toPrecision(4));
        return submit();
      }
      const [x0, x1] = [Math.min(from.x, to.x), Math.max(from.x, to.x)];
      const [y0, y1] = [1 - Math.max(from.y, to.y), 1 - Math.min(from.y, to.y)];
      fill(`min_${data.x}`, value(x0, +data.xLow, +data.xHigh, data.xScale));
      fill(`max_${data.x}`, value(x1, +data.xLow, +data.xHigh, data.xScale));
      fill(`min_${data.y}`, value(y0, +data.yLow, +data.yHigh, data.yScale));
      fill(`max_${data.y}`, value(y1, +data.yLow, +data.yHigh, data.yScale));
      submit();
    });
  };

  const prepare = () => {
    document.querySelectorAll("[data-brush]:not([data-ready])").forEach((box) => { box.dataset.ready = "1"; brush(box); });
    document.querySelectorAll("[data-scatter]:not([data-ready])").forEach((svg) => { svg.dataset.ready = "1"; plot(svg); });
    const kept = selected && rows().find((row) => row.dataset.latent === selected);
    if (kept) kept.classList.add("selected");
  };
  document.addEventListener("htmx:afterSettle", prepare);
  prepare();
  if (matchMedia("(max-width: 700px)").matches) document.getElementById("panel")?.removeAttribute("open");
})();
