/**
 * The random numbers of torch on a CPU, so that a seed here draws the same picture as in Python: the Mersenne Twister (Matsumoto & Nishimura
 * 1998) and Box and Muller's normals in blocks of 16, as `torch.randn` makes them; and NumPy's SeedSequence, which mixes keys to seeds.
 */

const N = 624;
const M = 397;

/** torch.Generator().manual_seed(seed), of which the lowest 32 bits count. */
export class Generator {
  /** @param {number} seed whole, from 0 to 2**53 - 1 */
  constructor(seed) {
    this.words = new Uint32Array(N);
    this.words[0] = seed % 2 ** 32;
    for (let i = 1; i < N; i++) {
      const before = this.words[i - 1] ^ (this.words[i - 1] >>> 30);
      this.words[i] = Math.imul(1812433253, before) + i;
    }
    this.used = N;
  }

  /** The next 32 random bits. */
  bits() {
    if (this.used === N) this.twist();
    let y = this.words[this.used++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  twist() {
    const w = this.words;
    for (let k = 0; k < N; k++) {
      const y = (w[k] & 0x80000000) | (w[(k + 1) % N] & 0x7fffffff);
      w[k] = w[(k + M) % N] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.used = 0;
  }

  /** Uniform in [0, 1) with 24 bits, as torch.rand in float32. */
  uniform() {
    return (this.bits() & 0xffffff) / 2 ** 24;
  }

  /**
   * n standard normal numbers, as torch.randn(n) for n >= 16; equal to float32's rounding.
   * @param {number} n
   */
  normals(n) {
    if (n < 16) throw new RangeError(`torch draws fewer than 16 normals in another way, ${n} were asked for`);
    const drawn = new Float32Array(n);
    for (let i = 0; i < n; i++) drawn[i] = this.uniform();
    for (let start = 0; start + 16 <= n; start += 16) boxMuller(drawn, start);
    if (n % 16) {
      for (let i = n - 16; i < n; i++) drawn[i] = this.uniform();
      boxMuller(drawn, n - 16);
    }
    return drawn;
  }
}

/** Turn 16 uniform numbers from `start` on into normal ones: eight radii, eight angles. @param {Float32Array} numbers @param {number} start */
function boxMuller(numbers, start) {
  for (let i = start; i < start + 8; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - numbers[i]));
    const angle = 2 * Math.PI * numbers[i + 8];
    numbers[i] = radius * Math.cos(angle);
    numbers[i + 8] = radius * Math.sin(angle);
  }
}

/**
 * The generator that Python's `keyed_generator(seed, purpose, index)` is: numpy.random.SeedSequence of the three, one bit dropped.
 * @param {number} seed
 * @param {string} purpose ASCII
 * @param {number} index
 */
export function keyedGenerator(seed, purpose, index) {
  const letters = [...purpose].map((letter) => letter.charCodeAt(0));
  const words = Array.from({ length: Math.ceil(letters.length / 4) }, (_, i) =>
    letters.slice(4 * i, 4 * i + 4).reduce((word, letter, k) => word + letter * 256 ** k, 0),
  );
  const [low, high] = seedSequence([...wordsOf(seed), ...words, ...wordsOf(index)]);
  return new Generator(((low >>> 1) | ((high & 1) << 31)) >>> 0);
}

/** @param {number} value whole, up to 2**53 @returns {number[]} its 32-bit words, the lowest first, at least one */
function wordsOf(value) {
  return value < 2 ** 32 ? [value] : [value % 2 ** 32, Math.floor(value / 2 ** 32)];
}

/**
 * The first two words of numpy.random.SeedSequence(entropy).generate_state (O'Neill's seed_seq, with a pool of four words).
 * @param {number[]} entropy 32-bit words
 */
function seedSequence(entropy) {
  let key = 0x43b0d7e5;
  const hashed = (/** @type {number} */ value) => {
    const mixed = value ^ key;
    key = Math.imul(key, 0x931e8875);
    const product = Math.imul(mixed, key);
    return product ^ (product >>> 16);
  };
  const together = (/** @type {number} */ a, /** @type {number} */ b) => {
    const sum = Math.imul(0xca01f9dd, a) - Math.imul(0x4973f715, b);
    return sum ^ (sum >>> 16);
  };
  const pool = [0, 1, 2, 3].map((i) => hashed(entropy[i] ?? 0));
  for (let from = 0; from < 4; from++) {
    for (let to = 0; to < 4; to++) if (from !== to) pool[to] = together(pool[to], hashed(pool[from]));
  }
  for (const word of entropy.slice(4)) {
    for (let to = 0; to < 4; to++) pool[to] = together(pool[to], hashed(word));
  }
  let out = 0x8b51f9dd;
  return [0, 1].map((i) => {
    const mixed = pool[i] ^ out;
    out = Math.imul(out, 0x58f38ded);
    const product = Math.imul(mixed, out);
    return (product ^ (product >>> 16)) >>> 0;
  });
}
