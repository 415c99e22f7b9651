// The page of geo_mm.viewer. Everything is in pixels of the scene; y of the map is minus the row.
'use strict';

const $ = (id) => document.getElementById(id);
const TITLES = { none: 'image alone', prediction: 'prediction', truth: 'ground truth' };
const LISTED = 200;
const state = { least: 0, hidden: new Set(), swipe: 0.5, sides: ['none', 'none'] };
const layers = {}; // by name: { draw(), pane, info }
let info, map, highlight;

function text(tag, content, parent) {
  const element = document.createElement(tag);
  element.textContent = content;
  if (parent) parent.append(element);
  return element;
}

function trouble(message) {
  $('trouble').textContent = message;
  $('trouble').hidden = !message;
}

const waiting = new Set(); // layers of which something is being read
let saying;

function busy(name, is) {
  waiting[is ? 'add' : 'delete'](name);
  clearTimeout(saying); // what takes no time need not be said
  saying = setTimeout(() => { $('busy').textContent = waiting.size ? 'reading ...' : ''; }, 400);
}

async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

function query() {
  return `least=${state.least}&hidden=${[...state.hidden].join(',')}`;
}

// Rasters: tiles of 256 pixels of the scene at zoom 0, coarser below.
function rasterLayer(name, pane) {
  const bounds = L.latLngBounds([-info.height, 0], [0, info.width]);
  const url = `tiles/${name}/{z}/{x}/{y}.png`;
  let asked = null;
  const tiles = L.tileLayer(url, {
    pane, bounds, minZoom: -30, maxZoom: 8, maxNativeZoom: 0, minNativeZoom: info.coarsest,
    noWrap: true,
  });
  tiles.on('loading', () => busy(name, true));
  tiles.on('load', () => busy(name, false));
  tiles.on('tileerror', () => trouble(`${name}: a tile cannot be read`));
  return {
    pane,
    draw() {
      const wanted = name === 'image' ? url : `${url}?${query()}`;
      if (wanted === asked) return;
      asked = wanted;
      tiles.remove(); // redraw() of Leaflet asks for zooms between those that there are
      tiles.setUrl(wanted, true).addTo(map);
    },
  };
}

// Objects: those in view, as exact as the screen shows them.
function objectLayer(name, pane) {
  const renderer = L.canvas({ pane, padding: 0.2 });
  const shapes = L.geoJSON(null, {
    renderer, pane,
    style: (feature) => ({
      color: info.classes[feature.properties.class].colour, weight: 2, fillOpacity: 0.15,
      dashArray: name === 'truth' && !clipped() ? '6 4' : null,
    }),
    pointToLayer: (feature, place) => L.circleMarker(place, { renderer, pane, radius: 5 }),
    onEachFeature: (feature, shape) => shape.bindTooltip(() => label(feature), { sticky: true }),
  }).addTo(map);
  let latest = 0;
  return {
    pane,
    async draw() {
      if (!state.sides.includes(name)) return;
      const own = ++latest;
      const view = map.getBounds();
      const box = [view.getWest(), -view.getNorth(), view.getEast(), -view.getSouth()];
      const pixel = 2 ** -map.getZoom();
      busy(name, true);
      try {
        const found = await ask(`objects/${name}?box=${box}&pixel=${pixel}&${query()}`);
        if (own !== latest) return;
        shapes.clearLayers();
        shapes.addData(found.features);
        if (listed() === name) list(found);
        trouble('');
      } catch (error) {
        trouble(error.message);
      } finally {
        if (own === latest) busy(name, false);
      }
    },
  };
}

function label(feature) {
  const { fid, confidence } = feature.properties;
  const name = info.classes[feature.properties.class].name;
  const element = document.createElement('span');
  element.textContent = `${name} ${fid}${confidence === null ? '' : `, confidence ${confidence.toFixed(2)}`}`;
  return element;
}

// The layer whose objects are listed.
function listed() {
  return state.sides.find((name) => info.layers[name]?.kind === 'objects');
}

function list(found) {
  const shown = found.features.slice(0, LISTED);
  const drawn = found.features.length;
  let title = `${found.total.toLocaleString('en')} in view: ${TITLES[listed()]}`;
  if (drawn < found.total) title += `, the largest ${drawn.toLocaleString('en')} drawn`;
  $('list-title').textContent = title;
  const focused = document.activeElement.closest('#list button')?.value;
  $('list').replaceChildren(...shown.map((feature) => {
    const item = document.createElement('li');
    const button = document.createElement('button');
    const { box, confidence, fid } = feature.properties;
    const kind = info.classes[feature.properties.class];
    const colour = document.createElement('i');
    colour.style.background = kind.colour;
    button.value = fid;
    button.append(colour);
    text('span', `${kind.name} ${fid}`, button);
    if (confidence !== null) text('b', confidence.toFixed(2), button);
    button.addEventListener('click', () => zoomTo(box));
    item.append(button);
    return item;
  }));
  // The entry that had the focus is made anew: who works by keyboard goes on from there.
  if (focused) ($('list').querySelector(`[value="${focused}"]`) ?? $('list')).focus();
}

function zoomTo([left, top, right, bottom]) {
  const margin = Math.max(right - left, bottom - top, 8) * 1.5;
  if (highlight) highlight.remove();
  highlight = L.rectangle([[-top, left], [-bottom, right]], {
    color: '#fff', weight: 3, fill: false, dashArray: '5 5', interactive: false,
    className: 'chosen',
  }).addTo(map);
  map.fitBounds([[-top + margin, left - margin], [-bottom - margin, right + margin]]);
}

// Left and right of the border: each shows one layer over the image.
function clipped() {
  return state.sides[0] !== state.sides[1];
}

function clip() {
  const size = map.getSize();
  const x = size.x * state.swipe;
  const at = (px, py) => map.containerPointToLayerPoint([px, py]);
  for (const [name, layer] of Object.entries(layers)) {
    if (name === 'image') continue;
    const pane = map.getPane(layer.pane);
    const [left, right] = state.sides.map((side) => side === name);
    pane.style.display = left || right ? '' : 'none';
    const [from, to] = [at(left ? 0 : x, 0), at(right ? size.x : x, size.y)];
    pane.style.clipPath = `polygon(${from.x}px ${from.y}px, ${to.x}px ${from.y}px, `
      + `${to.x}px ${to.y}px, ${from.x}px ${to.y}px)`;
  }
  $('swipe').hidden = !clipped();
  $('swipe').style.left = `${x}px`;
  $('swipe').setAttribute('aria-valuenow', Math.round(state.swipe * 100));
}

function moveBorder(share) {
  state.swipe = Math.min(Math.max(share, 0), 1);
  clip();
}

function draw() {
  for (const layer of Object.values(layers)) layer.draw();
  $('list-part').hidden = !listed();
}

function chooseSides() {
  state.sides = [$('left').value, $('right').value];
  clip();
  draw();
}

function measure() {
  if (!info.gsd) { $('scale').hidden = true; return; }
  const metres = 100 * info.gsd * 2 ** -map.getZoom();
  const power = 10 ** Math.floor(Math.log10(metres));
  const nice = [5, 2, 1].find((step) => step * power <= metres) * power;
  $('length').textContent = nice >= 1000 ? `${nice / 1000} km` : `${+nice.toPrecision(1)} m`;
  $('scale').querySelector('i').style.width = `${(nice / metres) * 100}px`;
}

function tellPlace(event) {
  const [x, y] = [event.latlng.lng, -event.latlng.lat];
  const [a, b, c, d, e, f] = info.transform;
  const digits = Math.abs(a) + Math.abs(b) < 0.01 ? 6 : 1;
  let place = `column ${Math.floor(x)}, row ${Math.floor(y)}`;
  if (info.crs) {
    const [east, north] = [a * x + b * y + c, d * x + e * y + f];
    place = `${east.toFixed(digits)}, ${north.toFixed(digits)} (${info.crs}); ${place}`;
  }
  $('where').textContent = place;
}

function legend() {
  info.classes.forEach(({ name, colour }, number) => {
    if (name === info.background) return;
    const row = document.createElement('label');
    const box = document.createElement('input');
    box.type = 'checkbox';
    box.checked = true;
    box.addEventListener('change', () => {
      state.hidden[box.checked ? 'delete' : 'add'](number);
      draw();
    });
    const field = document.createElement('i');
    field.style.background = colour;
    row.append(box, field);
    text('span', name, row);
    $('classes').append(row);
  });
}

function choices(overlays) {
  for (const id of ['left', 'right']) {
    for (const name of ['none', ...overlays]) {
      const option = text('option', TITLES[name], $(id));
      option.value = name;
    }
    $(id).addEventListener('change', chooseSides);
  }
  $('left').value = overlays[0] ?? 'none';
  $('right').value = overlays[1] ?? 'none';
  for (const id of ['sides', 'opacity-row', 'classes']) $(id).hidden = !overlays.length;
}

function controls(overlays) {
  $('opacity').addEventListener('input', () => setOpacity(overlays));
  $('least-row').hidden = !overlays.some((name) => info.layers[name].confidence);
  let waiting;
  $('least').addEventListener('input', () => {
    state.least = Number($('least').value);
    $('least-value').textContent = state.least.toFixed(2);
    clearTimeout(waiting);
    waiting = setTimeout(draw, 120);
  });
  const border = $('swipe');
  border.addEventListener('pointerdown', (event) => border.setPointerCapture(event.pointerId));
  border.addEventListener('pointermove', (event) => {
    if (!border.hasPointerCapture(event.pointerId)) return;
    const stage = $('stage').getBoundingClientRect();
    moveBorder((event.clientX - stage.left) / stage.width);
  });
  border.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    moveBorder(state.swipe + step);
  });
}

function setOpacity(overlays) {
  for (const name of overlays) {
    const tiles = info.layers[name].kind === 'classes';
    map.getPane(name).style.opacity = tiles ? $('opacity').value : Math.min($('opacity').value * 1.5, 1);
  }
}

async function start() {
  info = await ask('view.json');
  document.title = info.name;
  $('name').textContent = info.name;
  const files = Object.entries(info.layers).filter(([name]) => name !== 'image');
  $('files').textContent = files.map(([name, layer]) => `${TITLES[name]}: ${layer.file}`).join('; ');
  const longer = Math.max(info.width, info.height);
  info.coarsest = -Math.max(Math.ceil(Math.log2(longer / 256)), 0);
  map = L.map('map', {
    crs: L.CRS.Simple, attributionControl: false, minZoom: info.coarsest - 2, maxZoom: 6,
    zoomSnap: 0.25, zoomAnimation: false, fadeAnimation: false,
  });
  map.fitBounds([[-info.height, 0], [0, info.width]]);
  const overlays = Object.keys(info.layers).filter((name) => name !== 'image');
  Object.keys(info.layers).forEach((name, place) => {
    map.createPane(name).style.zIndex = 300 + place;
    const make = info.layers[name].kind === 'objects' ? objectLayer : rasterLayer;
    layers[name] = make(name, name);
  });
  legend();
  choices(overlays);
  controls(overlays);
  setOpacity(overlays);
  if (info.north !== null) {
    $('north').hidden = false;
    $('north').style.setProperty('--turn', `${info.north}deg`);
  }
  map.on('move zoom viewreset resize', clip);
  map.on('moveend', draw);
  map.on('zoomend', measure);
  map.on('mousemove', tellPlace);
  measure();
  chooseSides();
  window.viewer = { map, state, layers };
}

start().catch((error) => trouble(error.message));
