package com.example.store

import kotlinx.coroutines.flow.Flow

const val MAX_ITEMS = 100
private val logger = Logger("store")

typealias Listener = (Item) -> Unit

/** Something that can be stored. */
@Serializable
data class Item(val id: Long, val name: String)

sealed interface Result<out T> {
    object Loading : Result<Nothing>
    class Failure(val error: Throwable) : Result<Nothing>
}

// Keeps items in memory.
open class Store(private val limit: Int = MAX_ITEMS) : Repository<Item> {
    private val items = mutableMapOf<Long, Item>()
    var isOpen: Boolean = true
        private set

    init {
        require(limit > 0) { "limit must be positive" }
    }

    constructor(name: String) : this(name.length)

    override suspend fun find(id: Long): Item? {
        val cached = items[id]
        if (cached != null && cached.name.isNotEmpty()) {
            return cached
        }
        fun reload() = remote.load(id)
        return reload()
    }

    companion object {
        const val NAME = "store"
        fun create(): Store = Store()
    }

    enum class Mode { READ, WRITE }
}

interface Repository<T> {
    suspend fun find(id: Long): T?
}

object Registry {
    fun register(store: Store) = stores.add(store)
}

fun <T : Any> List<T>.second(): T? = getOrNull(1)
val Item.label: String get() = "$id $name"
fun main() { println(Store.create()) }
