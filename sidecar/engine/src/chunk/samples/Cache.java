package com.example.cache;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Keeps values until they expire.
 */
@ThreadSafe
public final class Cache<K, V> implements AutoCloseable {
    public static final int DEFAULT_SIZE = 1024, MIN_SIZE = 16;
    private final Map<K, Entry<V>> entries = new ConcurrentHashMap<>();
    private static volatile Cache<?, ?> shared;

    public Cache(int capacity) {
        this.capacity = capacity;
    }

    /** Finds a value, or loads it. */
    @Override
    public <T extends V> V get(K key, Loader<K, V> loader) throws LoadException {
        Entry<V> entry = entries.get(key);
        if (entry != null && !entry.isExpired(clock.millis())) {
            hits.increment();
            return entry.value();
        }
        Runnable refresh = new Runnable() {
            public void run() { load(key); }
        };
        return loader.load(key);
    }

    record Entry<V>(V value, long expires) {
        Entry {
            if (expires < 0) throw new IllegalArgumentException("expires");
        }

        boolean isExpired(long now) { return expires < now; }
    }

    // How entries leave.
    public enum Eviction { LRU, FIFO }

    @FunctionalInterface
    public interface Loader<K, V> {
        V load(K key) throws LoadException;
        int RETRIES = 3;
    }

    @interface Guarded { String by() default ""; }
}
